"""The rules of the game: what each of the seven actions does, and the rules that levels add."""

from __future__ import annotations

from typing import Any

from .cells import (
    BOX_TYPE,
    CAN_OVERLAP,
    CAN_PICK_UP,
    CLOSED_DOOR,
    COLOR,
    DOOR_TYPE,
    EMPTY,
    GOAL_TYPE,
    KEY,
    LAVA_TYPE,
    LOCKED_DOOR,
    OPEN_DOOR,
    TYPE,
)
from .jit import rule
from .record import NOTHING
from .world import index, is_inside, put_thing, thing_on

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
ACTIONS = 7


@rule
def front_index(e: Any) -> int:
    """The index of the cell that the agent faces; its own where it looks off the grid."""
    x, y = e.x, e.y
    if e.direction == 0:
        x += 1
    elif e.direction == 1:
        y += 1
    elif e.direction == 2:
        x -= 1
    else:
        y -= 1
    return index(e, x, y) if is_inside(e, x, y) else index(e, e.x, e.y)


@rule
def success(e: Any) -> None:
    """End the episode with the reward for its length, 1 - 0.9 n / n_max."""
    e.terminated = 1
    e.reward = 1.0 - 0.9 * (e.steps / e.max_steps)


@rule
def fail(e: Any) -> None:
    """End the episode without a reward."""
    e.terminated, e.reward = 1, 0.0


@rule
def turn_left(e: Any) -> None:
    """A quarter turn, counter-clockwise."""
    e.direction = (e.direction + 3) % 4


@rule
def turn_right(e: Any) -> None:
    """A quarter turn, clockwise."""
    e.direction = (e.direction + 1) % 4


@rule
def move_forward(e: Any) -> None:
    """One step ahead where nothing stands; the goal and lava end the episode."""
    front = front_index(e)
    cell = e.grid[front]
    if CAN_OVERLAP[cell]:
        e.x, e.y = front % e.width, front // e.width
    if TYPE[cell] == GOAL_TYPE:
        success(e)
    elif TYPE[cell] == LAVA_TYPE:
        e.terminated = 1


@rule
def take(e: Any, thing: int, at: int) -> None:
    """Take what lies at ``at`` in hand, as ``thing`` (NOTHING if it has no identity)."""
    e.carrying = e.grid[at]
    e.held = thing
    e.grid[at] = EMPTY
    if thing != NOTHING:
        e.thing_at[thing] = NOTHING


@rule
def pick_up_front(e: Any) -> None:
    """Take the object ahead into an empty hand."""
    front = front_index(e)
    if CAN_PICK_UP[e.grid[front]] and e.carrying == EMPTY:
        take(e, thing_on(e, front), front)


@rule
def drop(e: Any) -> None:
    """Lay what is carried on the empty cell ahead."""
    front = front_index(e)
    free = e.grid[front] == EMPTY and front != e.y * e.width + e.x
    if free and e.carrying != EMPTY:
        e.grid[front] = e.carrying
        if e.held != NOTHING:
            e.thing_at[e.held] = front
        e.carrying, e.held = EMPTY, NOTHING


@rule
def toggle_door(e: Any, at: int) -> None:
    """Open or close a door; a locked one opens to its color's key."""
    cell = e.grid[at]
    color = COLOR[cell]
    if cell >= LOCKED_DOOR:
        if e.carrying == KEY + color:
            e.grid[at] = OPEN_DOOR + color
    elif cell >= CLOSED_DOOR:
        e.grid[at] = OPEN_DOOR + color
    else:
        e.grid[at] = CLOSED_DOOR + color


@rule
def open_box(e: Any, at: int) -> None:
    """Replace a box by what it holds, be it nothing."""
    box = thing_on(e, at)
    e.grid[at] = EMPTY
    if box != NOTHING:
        e.thing_at[box] = NOTHING
        if e.thing_inside[box] != NOTHING:
            put_thing(e, e.thing_inside[box], at)
            e.thing_inside[box] = NOTHING


@rule
def toggle(e: Any) -> None:
    """Use what is ahead: a door or a box."""
    front = front_index(e)
    kind = TYPE[e.grid[front]]
    if kind == DOOR_TYPE:
        toggle_door(e, front)
    elif kind == BOX_TYPE:
        open_box(e, front)


@rule
def apply(e: Any, action: int) -> None:
    """Do one of the seven actions."""
    if action == LEFT:
        turn_left(e)
    elif action == RIGHT:
        turn_right(e)
    elif action == FORWARD:
        move_forward(e)
    elif action == PICKUP:
        pick_up_front(e)
    elif action == DROP:
        drop(e)
    elif action == TOGGLE:
        toggle(e)
