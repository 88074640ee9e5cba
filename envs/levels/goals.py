"""Walk to the goal: empty rooms, and rooms joined by gaps."""

from __future__ import annotations

from functools import partial

from ..cells import EMPTY, GOAL
from ..record import Record
from ..registry import level
from ..rng import rand_int
from ..world import (
    goal_in_corner,
    place_agent,
    place_cell,
    set_agent,
    set_cell,
    wall_column,
    wall_row,
    walled,
)

GET_TO_GOAL = "get to the green goal square"

room = partial(level, mission=GET_TO_GOAL, see_through=True)


@room("MiniGrid-Empty-5x5-v0", size=5, max_steps=100, random=0)
@room("MiniGrid-Empty-6x6-v0", size=6, max_steps=144, random=0)
@room("MiniGrid-Empty-8x8-v0", size=8, max_steps=256, random=0)
@room("MiniGrid-Empty-16x16-v0", size=16, max_steps=1024, random=0)
@room("MiniGrid-Empty-Random-5x5-v0", size=5, max_steps=100, random=1)
@room("MiniGrid-Empty-Random-6x6-v0", size=6, max_steps=144, random=1)
def empty(e: Record, random: int) -> None:
    """A room and the goal; the agent starts in the corner or anywhere."""
    walled(e)
    goal_in_corner(e)
    if random:
        place_agent(e, 0, 0, e.width, e.height)
    else:
        set_agent(e, 1, 1, 0)


# The smaller one is in the list of Meta-RIMs (Madan et al. 2021); upstream has no such id.
@level("MetaRIMs-FourRoomsS13-v0", size=13, max_steps=100, mission="reach the goal")
@level("MiniGrid-FourRooms-v0", size=19, max_steps=100, mission="reach the goal")
def four_rooms(e: Record) -> None:
    """Four rooms, with a gap in each wall between two of them."""
    walled(e)
    half = e.width // 2
    for j in range(2):
        for i in range(2):
            left, top = i * half, j * half
            right, bottom = left + half, top + half
            if i == 0:
                wall_column(e, right, top, half)
                set_cell(e, right, rand_int(e, top + 1, bottom), EMPTY)
            if j == 0:
                wall_row(e, left, bottom, half)
                set_cell(e, rand_int(e, left + 1, right), bottom, EMPTY)
    place_agent(e, 0, 0, e.width, e.height)
    place_cell(e, GOAL, 0, 0, e.width, e.height)
