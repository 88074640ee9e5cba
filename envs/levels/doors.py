"""Keys and doors."""

from __future__ import annotations

from typing import Any

from ..cells import KEY, LOCKED_DOOR, YELLOW
from ..registry import level
from ..rng import rand_int
from ..world import goal_in_corner, place, place_agent, put, wall_column, walled

USE_KEY = "use the key to open the door and then get to the goal"


@level("MiniGrid-DoorKey-5x5-v0", size=5, max_steps=250, mission=USE_KEY)
@level("MiniGrid-DoorKey-6x6-v0", size=6, max_steps=360, mission=USE_KEY)
@level("MiniGrid-DoorKey-8x8-v0", size=8, max_steps=640, mission=USE_KEY)
@level("MiniGrid-DoorKey-16x16-v0", size=16, max_steps=2560, mission=USE_KEY)
def door_key(e: Any) -> None:
    """The key lies on the agent's side of a wall, the goal beyond the locked door in it."""
    walled(e)
    goal_in_corner(e)
    split = rand_int(e, 2, e.width - 2)
    wall_column(e, split, 0, e.height)
    place_agent(e, 0, 0, split, e.height)
    put(e, split, rand_int(e, 1, e.height - 2), LOCKED_DOOR + YELLOW)
    place(e, KEY + YELLOW, 0, 0, split, e.height)
