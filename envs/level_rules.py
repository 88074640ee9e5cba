"""The rules of particular levels, on top of the actions; ``envs.rules`` has the table of them.

The function before an action takes the chosen action and returns the one to take instead, with a
number noted for later. The function after it takes the action taken and that number, and may end
the episode.
"""

from __future__ import annotations

from .actions import DONE, DROP, FORWARD, LEFT, PICKUP, TOGGLE, fail, front_index, success
from .cells import CLOSED_DOOR, EMPTY, GOAL_TYPE, OPEN_DOOR, TYPE
from .jit import compiled
from .record import NOTHING, Record
from .world import find_place, index, put_thing

# --- obstacles: balls drift about ---------------------------------------------------------------


@compiled
def move_obstacles(e: Record, action: int) -> tuple[int, int]:
    """Move the obstacles at random; notes whether the agent is about to bump into something.

    Only the first three actions exist; the others turn left, as upstream.
    """
    if action > FORWARD:
        action = LEFT
    collides = 1 if action == FORWARD and is_blocked(e) else 0
    for thing in range(e.things):
        old = e.thing_at[thing]
        new = find_place(e, old % e.width - 1, old // e.width - 1, 3, 3, 1, 100)
        if new != NOTHING:
            e.grid[old] = EMPTY
            put_thing(e, thing, new)
    return action, collides


@compiled
def is_blocked(e: Record) -> bool:
    """Whether something other than a goal is ahead."""
    cell = e.grid[front_index(e)]
    return cell != EMPTY and TYPE[cell] != GOAL_TYPE


@compiled
def punish_collision(e: Record, action: int, collided: int) -> None:
    """End the episode with reward -1 if the agent bumped into something."""
    if collided:
        e.terminated, e.reward = 1, -1.0


# --- memory: two ends of a hallway --------------------------------------------------------------


@compiled
def toggle_for_pickup(e: Record, action: int) -> tuple[int, int]:
    """Toggle instead of picking up, as upstream."""
    return TOGGLE if action == PICKUP else action, 0


@compiled
def compare_memory(e: Record, action: int, noted: int) -> None:
    """End the episode at either end of the hallway: with success by the start room's object."""
    here = index(e, e.x, e.y)
    if here == e.target:
        success(e)
    elif here == e.decoy:
        fail(e)


# --- say done: go to a place and say so ---------------------------------------------------------


@compiled
def judge_done(e: Record, action: int, noted: int) -> None:
    """The done action succeeds next to the target's cell and fails elsewhere; any toggle fails."""
    if action == DONE:
        apart = abs(e.x - e.target % e.width) + abs(e.y - e.target // e.width)
        if apart == 1:
            success(e)
        else:
            fail(e)
    elif action == TOGGLE:
        fail(e)


# --- fetch: take the right thing ----------------------------------------------------------------


@compiled
def judge_fetched(e: Record, action: int, noted: int) -> None:
    """Picking up what looks like the target succeeds, anything else fails."""
    if e.carrying == e.target:
        success(e)
    elif e.carrying != EMPTY:
        fail(e)


# --- put near: lay one thing beside another -----------------------------------------------------


@compiled
def note_held(e: Record, action: int) -> tuple[int, int]:
    """Note the thing in hand."""
    return action, e.held


@compiled
def judge_put_near(e: Record, action: int, held: int) -> None:
    """Dropping the target within one cell of the decoy's succeeds; other drops or pick-ups fail."""
    if action == PICKUP and e.carrying != EMPTY and e.held != e.target:
        fail(e)
    if action == DROP and held != NOTHING:
        at = e.thing_at[held]
        dx, dy = at % e.width - e.decoy % e.width, at // e.width - e.decoy // e.width
        if at != NOTHING and abs(dx) <= 1 and abs(dy) <= 1:
            success(e)
        else:
            fail(e)


# --- in order: open one door, then the other ----------------------------------------------------


@compiled
def is_open(e: Record, at: int) -> bool:
    """Whether the door at a cell is open."""
    return OPEN_DOOR <= e.grid[at] < CLOSED_DOOR


@compiled
def note_open(e: Record, action: int) -> tuple[int, int]:
    """Note whether the target door is open."""
    return action, 1 if is_open(e, e.target) else 0


@compiled
def judge_order(e: Record, action: int, was_open: int) -> None:
    """Opening the decoy door succeeds if the target door was open before, else fails."""
    if is_open(e, e.decoy):
        if was_open:
            success(e)
        else:
            fail(e)
