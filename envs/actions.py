"""The functions of the seven actions; ``envs.rules`` has the table of them."""

from __future__ import annotations

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
from .jit import compiled
from .record import NOTHING, Record
from .world import index, is_inside, put_thing, thing_on

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)  # upstream's numbers


@compiled
def front_index(e: Record) -> int:
    """The index of the cell that the agent faces; its own cell at the edge of the grid."""
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


@compiled
def success(e: Record) -> None:
    """End the episode with reward 1 - 0.9 n / n_max after n steps."""
    e.terminated = 1
    e.reward = 1.0 - 0.9 * (e.steps / e.max_steps)


@compiled
def fail(e: Record) -> None:
    """End the episode without a reward."""
    e.terminated, e.reward = 1, 0.0


@compiled
def turn_left(e: Record) -> None:
    """A quarter turn, counter-clockwise."""
    e.direction = (e.direction + 3) % 4


@compiled
def turn_right(e: Record) -> None:
    """A quarter turn, clockwise."""
    e.direction = (e.direction + 1) % 4


@compiled
def move_forward(e: Record) -> None:
    """Step ahead if the cell can be entered; the goal and lava end the episode."""
    front = front_index(e)
    cell = e.grid[front]
    if CAN_OVERLAP[cell]:
        e.x, e.y = front % e.width, front // e.width
    if TYPE[cell] == GOAL_TYPE:
        success(e)
    elif TYPE[cell] == LAVA_TYPE:
        e.terminated = 1


@compiled
def take(e: Record, thing: int, at: int) -> None:
    """Pick up what lies at ``at``, as ``thing`` (NOTHING if it has no identity)."""
    e.carrying = e.grid[at]
    e.held = thing
    e.grid[at] = EMPTY
    if thing != NOTHING:
        e.thing_at[thing] = NOTHING


@compiled
def pick_up_front(e: Record) -> None:
    """Pick up the object ahead, if any, with an empty hand."""
    front = front_index(e)
    if CAN_PICK_UP[e.grid[front]] and e.carrying == EMPTY:
        take(e, thing_on(e, front), front)


@compiled
def drop(e: Record) -> None:
    """Put the carried object on the cell ahead, if that is empty."""
    front = front_index(e)
    free = e.grid[front] == EMPTY and front != e.y * e.width + e.x
    if free and e.carrying != EMPTY:
        e.grid[front] = e.carrying
        if e.held != NOTHING:
            e.thing_at[e.held] = front
        e.carrying, e.held = EMPTY, NOTHING


@compiled
def toggle_door(e: Record, at: int) -> None:
    """Open or close a door; a locked one opens with the key of its color in hand."""
    cell = e.grid[at]
    color = COLOR[cell]
    if cell >= LOCKED_DOOR:
        if e.carrying == KEY + color:
            e.grid[at] = OPEN_DOOR + color
    elif cell >= CLOSED_DOOR:
        e.grid[at] = OPEN_DOOR + color
    else:
        e.grid[at] = CLOSED_DOOR + color


@compiled
def open_box(e: Record, at: int) -> None:
    """Replace a box by its contents, if any."""
    box = thing_on(e, at)
    e.grid[at] = EMPTY
    if box != NOTHING:
        e.thing_at[box] = NOTHING
        if e.thing_inside[box] != NOTHING:
            put_thing(e, e.thing_inside[box], at)
            e.thing_inside[box] = NOTHING


@compiled
def toggle(e: Record) -> None:
    """Toggle the door or open the box ahead."""
    front = front_index(e)
    kind = TYPE[e.grid[front]]
    if kind == DOOR_TYPE:
        toggle_door(e, front)
    elif kind == BOX_TYPE:
        open_box(e, front)
