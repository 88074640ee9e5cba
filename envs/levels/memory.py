"""Remember the start room's object at the end of a hallway."""

from __future__ import annotations

from functools import partial

from ..cells import BALL, GREEN, KEY, WALL
from ..record import Record
from ..registry import level
from ..rng import rand_int
from ..world import index, put, set_agent, set_cell, walled

MATCH = "go to the matching object at the end of the hallway"

hallway = partial(level, mission=MATCH, rule="memory")


@hallway("MiniGrid-MemoryS7-v0", size=7, max_steps=245, random=0)
@hallway("MiniGrid-MemoryS9-v0", size=9, max_steps=405, random=0)
@hallway("MiniGrid-MemoryS11-v0", size=11, max_steps=605, random=0)
@hallway("MiniGrid-MemoryS13-v0", size=13, max_steps=845, random=0)
@hallway("MiniGrid-MemoryS13Random-v0", size=13, max_steps=845, random=1)
@hallway("MiniGrid-MemoryS17Random-v0", size=17, max_steps=1445, random=1)
def memory(e: Record, random: int) -> None:
    """A start room with a key or a ball, a hallway, and a fork with one of each."""
    walled(e)
    middle = e.height // 2
    end = rand_int(e, 4, e.width - 2) if random else e.width - 3
    for x in range(1, 5):
        set_cell(e, x, middle - 2, WALL)
        set_cell(e, x, middle + 2, WALL)
    for x in range(4, max(end, 5)):
        set_cell(e, x, middle - 1, WALL)
        set_cell(e, x, middle + 1, WALL)
    for y in range(e.height):
        if y != middle:
            set_cell(e, end, y, WALL)
        set_cell(e, end + 2, y, WALL)
    set_agent(e, rand_int(e, 1, end + 1), middle, 0)
    seen = KEY if rand_int(e, 0, 2) == 0 else BALL
    put(e, 1, middle - 1, seen + GREEN)
    upper, lower = (BALL, KEY) if rand_int(e, 0, 2) == 0 else (KEY, BALL)
    put(e, end + 1, middle - 2, upper + GREEN)
    put(e, end + 1, middle + 2, lower + GREEN)
    e.target, e.decoy = index(e, end + 1, middle - 1), index(e, end + 1, middle + 1)
    if seen != upper:
        e.target, e.decoy = e.decoy, e.target
