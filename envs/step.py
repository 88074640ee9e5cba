"""One step of one environment: the action, what the level adds to it, and how the episode fares."""

from __future__ import annotations

from typing import Any

from .cells import CLOSED_DOOR, EMPTY, GOAL_TYPE, OPEN_DOOR, TYPE
from .instructions import verify
from .jit import rule
from .record import NOTHING
from .rules import (
    DONE,
    DROP,
    FORWARD,
    LEFT,
    PICKUP,
    TOGGLE,
    apply,
    fail,
    front_index,
    success,
)
from .world import find_place, index, put_thing

# Rules of a level's own, named in its row.
STANDARD, OBSTACLES, MEMORY, SAY_DONE, FETCH, PUT_NEAR, IN_ORDER = range(7)


@rule
def step(e: Any, action: int) -> None:
    """Let the agent act once; the record then holds reward, terminated and truncated."""
    e.steps += 1
    e.reward, e.terminated = 0.0, 0
    collided = False
    if e.rule == OBSTACLES:
        if action > FORWARD:
            action = LEFT
        collided = action == FORWARD and is_blocked(e)
        move_obstacles(e)
    elif e.rule == MEMORY and action == PICKUP:
        action = TOGGLE
    held, was_open = e.held, e.rule == IN_ORDER and is_open(e, e.target)
    apply(e, action)
    e.truncated = e.steps >= e.max_steps
    if e.root:
        verify(e, action)
    elif e.rule == MEMORY:
        compare_memory(e)
    elif e.rule == SAY_DONE:
        judge_done(e, action)
    elif e.rule == FETCH:
        judge_fetched(e)
    elif e.rule == PUT_NEAR:
        judge_put_near(e, action, held)
    elif e.rule == IN_ORDER:
        judge_order(e, was_open)
    elif collided:
        e.terminated, e.reward = 1, -1.0


@rule
def is_blocked(e: Any) -> bool:
    """Whether something other than a goal is ahead, tested before the obstacles move."""
    cell = e.grid[front_index(e)]
    return cell != EMPTY and TYPE[cell] != GOAL_TYPE


@rule
def move_obstacles(e: Any) -> None:
    """Move each thing to an empty cell around it, drawn from the environment's stream."""
    for thing in range(e.things):
        old = e.thing_at[thing]
        new = find_place(e, old % e.width - 1, old // e.width - 1, 3, 3, 1, 100)
        if new != NOTHING:
            e.grid[old] = EMPTY
            put_thing(e, thing, new)


@rule
def compare_memory(e: Any) -> None:
    """The hallway's ends: one shows the object of the start room, the other does not."""
    here = index(e, e.x, e.y)
    if here == e.target:
        success(e)
    elif here == e.decoy:
        fail(e)


@rule
def judge_done(e: Any, action: int) -> None:
    """The agent says that it is done beside the target's place; it may not toggle anything."""
    if action == DONE:
        apart = abs(e.x - e.target % e.width) + abs(e.y - e.target // e.width)
        if apart == 1:
            success(e)
        else:
            fail(e)
    elif action == TOGGLE:
        fail(e)


@rule
def judge_fetched(e: Any) -> None:
    """What is in hand looks like the target, or it was the wrong thing."""
    if e.carrying == e.target:
        success(e)
    elif e.carrying != EMPTY:
        fail(e)


@rule
def judge_put_near(e: Any, action: int, held: int) -> None:
    """The target thing is laid on or around the place of the decoy; others are left alone."""
    if action == PICKUP and e.carrying != EMPTY and e.held != e.target:
        fail(e)
    if action == DROP and held != NOTHING:
        at = e.thing_at[held]
        dx, dy = at % e.width - e.decoy % e.width, at // e.width - e.decoy // e.width
        if at != NOTHING and abs(dx) <= 1 and abs(dy) <= 1:
            success(e)
        else:
            fail(e)


@rule
def is_open(e: Any, at: int) -> bool:
    """Whether the door at a cell is open."""
    return OPEN_DOOR <= e.grid[at] < CLOSED_DOOR


@rule
def judge_order(e: Any, was_open: bool) -> None:
    """The target door must be open before the decoy is opened."""
    if is_open(e, e.decoy):
        if was_open:
            success(e)
        else:
            fail(e)
