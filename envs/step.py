"""One step of one environment: the action, what the level adds to it, and how the episode fares."""

from __future__ import annotations

from typing import Any

from numba import njit

from .cells import EMPTY, GOAL_TYPE, TYPE
from .instructions import verify
from .record import NOTHING
from .rules import FORWARD, LEFT, PICKUP, TOGGLE, apply, front_index, success
from .world import find_place, index, put_thing

# Rules of a level's own, named in its row.
STANDARD, OBSTACLES, MEMORY = range(3)


@njit
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
    apply(e, action)
    e.truncated = e.steps >= e.max_steps
    if e.root:
        verify(e, action)
    elif e.rule == MEMORY:
        compare_memory(e)
    elif collided:
        e.terminated, e.reward = 1, -1.0


@njit
def is_blocked(e: Any) -> bool:
    """Whether something other than a goal is ahead, tested before the obstacles move."""
    cell = e.grid[front_index(e)]
    return cell != EMPTY and TYPE[cell] != GOAL_TYPE


@njit
def move_obstacles(e: Any) -> None:
    """Move each thing to an empty cell around it, drawn from the environment's stream."""
    for thing in range(e.things):
        old = e.thing_at[thing]
        new = find_place(e, old % e.width - 1, old // e.width - 1, 3, 3, 1, 100)
        if new != NOTHING:
            e.grid[old] = EMPTY
            put_thing(e, thing, new)


@njit
def compare_memory(e: Any) -> None:
    """The hallway's ends: one shows the object of the start room, the other does not."""
    here = index(e, e.x, e.y)
    if here == e.target:
        success(e)
    elif here == e.decoy:
        e.terminated, e.reward = 1, 0.0
