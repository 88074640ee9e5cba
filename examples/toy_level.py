"""Custom levels: a goal in the corner, lava in the middle.

python run.py train --import examples/toy_level.py --env My-Pond-v0 --out RUN
"""

from __future__ import annotations

from envs import level
from envs.cells import LAVA
from envs.record import Record
from envs.world import goal_in_corner, place_agent, set_cell, walled


@level("My-Pond-v0", size=7, max_steps=100, mission="get to the green goal square")
@level("My-Lake-v0", size=9, max_steps=200, mission="get to the green goal square")
def pond(e: Record) -> None:
    """A goal in the corner, lava in the middle."""
    walled(e)
    goal_in_corner(e)
    for x in range(3, e.width - 3):
        for y in range(3, e.height - 3):
            set_cell(e, x, y, LAVA)
    place_agent(e, 0, 0, e.width, e.height)
