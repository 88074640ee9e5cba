"""Obstacles that move."""

from __future__ import annotations

from functools import partial

from ..cells import BALL, BLUE
from ..record import Record
from ..registry import level
from ..world import goal_in_corner, place, place_agent, set_agent, walled
from .goals import GET_TO_GOAL

moving = partial(level, mission=GET_TO_GOAL, see_through=True, rule="obstacles")


@moving("MiniGrid-Dynamic-Obstacles-5x5-v0", size=5, max_steps=100, obstacles=2, random=0)
@moving("MiniGrid-Dynamic-Obstacles-6x6-v0", size=6, max_steps=144, obstacles=3, random=0)
@moving("MiniGrid-Dynamic-Obstacles-8x8-v0", size=8, max_steps=256, obstacles=4, random=0)
@moving("MiniGrid-Dynamic-Obstacles-16x16-v0", size=16, max_steps=1024, obstacles=8, random=0)
@moving("MiniGrid-Dynamic-Obstacles-Random-5x5-v0", size=5, max_steps=100, obstacles=2, random=1)
@moving("MiniGrid-Dynamic-Obstacles-Random-6x6-v0", size=6, max_steps=144, obstacles=3, random=1)
def dynamic_obstacles(e: Record, obstacles: int, random: int) -> None:
    """Blue balls that drift at random; bumping into one or into a wall ends the episode at -1."""
    walled(e)
    goal_in_corner(e)
    if random:
        place_agent(e, 0, 0, e.width, e.height)
    else:
        set_agent(e, 1, 1, 0)
    for _ in range(obstacles):
        place(e, BALL + BLUE, 0, 0, e.width, e.height)
