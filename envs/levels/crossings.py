"""Rivers of lava, or walls, each with one opening on a path to the goal."""

from __future__ import annotations

from functools import partial

from ..cells import EMPTY, GOAL, LAVA, WALL
from ..jit import compiled
from ..record import Record
from ..registry import level
from ..rng import rand_below_or_at, rand_int
from ..world import goal_in_corner, set_agent, set_cell, walled
from .goals import GET_TO_GOAL

AVOID_LAVA = "avoid the lava and get to the green goal square"
FIND_OPENING = "find the opening and get to the green goal square"

lava = partial(level, mission=AVOID_LAVA, cell=LAVA)
walls = partial(level, mission=FIND_OPENING, cell=WALL)
strips = partial(level, size=(9, 7), max_steps=252, mission=GET_TO_GOAL, see_through=True)


@compiled
def swap(bits: int, i: int, j: int) -> int:
    """Swap bits i and j of a mask."""
    if (bits >> i) & 1 != (bits >> j) & 1:
        bits ^= (1 << i) | (1 << j)
    return bits


@compiled
def nth_line(lines: int, n: int, last: int) -> int:
    """The n-th of an ascending list of lines: 0, twice the index of each set bit, ``last``."""
    if n == 0:
        return 0
    for bit in range(31):
        if (lines >> bit) & 1:
            n -= 1
            if n == 0:
                return 2 * bit
    return last


@compiled
def draw_rivers(e: Record, count: int) -> int:
    """Draw ``count`` rivers: line 2 i is bit i if vertical, bit 16 + i if horizontal.

    Upstream shuffles the list of all lines, vertical ones first, and takes the head: apply its
    swaps, last to first, to a packed list.
    """
    lines = (e.width - 4) // 2 + (e.width - 4) % 2
    rivers = 0
    order = 0x76543210  # four bits per place: upstream shuffles at most 8 lines
    for i in range(2 * lines - 1, 0, -1):
        j = rand_below_or_at(e, i)
        a, b = (order >> (4 * i)) & 15, (order >> (4 * j)) & 15
        order ^= ((a ^ b) << (4 * i)) | ((a ^ b) << (4 * j)) if i != j else 0
    for place in range(count):
        river = (order >> (4 * place)) & 15
        rivers |= 1 << (river + 1 if river < lines else 16 + river - lines + 1)
    return rivers


@lava("MiniGrid-LavaCrossingS9N1-v0", size=9, max_steps=324, crossings=1)
@lava("MiniGrid-LavaCrossingS9N2-v0", size=9, max_steps=324, crossings=2)
@lava("MiniGrid-LavaCrossingS9N3-v0", size=9, max_steps=324, crossings=3)
@lava("MiniGrid-LavaCrossingS11N5-v0", size=11, max_steps=484, crossings=5)
@walls("MiniGrid-SimpleCrossingS9N1-v0", size=9, max_steps=324, crossings=1)
@walls("MiniGrid-SimpleCrossingS9N2-v0", size=9, max_steps=324, crossings=2)
@walls("MiniGrid-SimpleCrossingS9N3-v0", size=9, max_steps=324, crossings=3)
@walls("MiniGrid-SimpleCrossingS11N5-v0", size=11, max_steps=484, crossings=5)
def crossing(e: Record, crossings: int, cell: int) -> None:
    """Rivers across the room, each with an opening where a path to the goal crosses it."""
    walled(e)
    set_agent(e, 1, 1, 0)
    goal_in_corner(e)
    last = e.width - 1
    rivers = draw_rivers(e, crossings)
    vertical, horizontal = rivers & 0xFFFF, rivers >> 16
    columns = 0
    for bit in range(1, 16):
        columns += (vertical >> bit) & 1
        for i in range(1, last):
            if (horizontal >> bit) & 1:
                set_cell(e, i, 2 * bit, cell)
            if (vertical >> bit) & 1:
                set_cell(e, 2 * bit, i, cell)
    path = (1 << columns) - 1  # a 1 moves on to the next column of rooms
    for i in range(crossings - 1, 0, -1):
        path = swap(path, i, rand_below_or_at(e, i))
    column = row = 0
    for leg in range(crossings):
        if (path >> leg) & 1:
            x = nth_line(vertical, column + 1, last)
            top, bottom = nth_line(horizontal, row, last), nth_line(horizontal, row + 1, last)
            y = rand_int(e, top + 1, bottom)
            column += 1
        else:
            left, right = nth_line(vertical, column, last), nth_line(vertical, column + 1, last)
            x = rand_int(e, left + 1, right)
            y = nth_line(horizontal, row + 1, last)
            row += 1
        set_cell(e, x, y, EMPTY)


@lava("MiniGrid-LavaGapS5-v0", size=5, max_steps=100)
@lava("MiniGrid-LavaGapS6-v0", size=6, max_steps=144)
@lava("MiniGrid-LavaGapS7-v0", size=7, max_steps=196)
def gap(e: Record, cell: int) -> None:
    """One river across the room, with one opening."""
    walled(e)
    set_agent(e, 1, 1, 0)
    goal_in_corner(e)
    x, y = rand_int(e, 2, e.width - 2), rand_int(e, 1, e.height - 1)
    for row in range(1, e.height - 1):
        set_cell(e, x, row, EMPTY if row == y else cell)


@strips("MiniGrid-DistShift1-v0", second=2)
@strips("MiniGrid-DistShift2-v0", second=5)
def lava_strips(e: Record, second: int) -> None:
    """Two strips of lava between the start and the goal in the upper corners."""
    walled(e)
    set_cell(e, e.width - 2, 1, GOAL)
    for x in range(3, e.width - 3):
        set_cell(e, x, 1, LAVA)
        set_cell(e, x, second, LAVA)
    set_agent(e, 1, 1, 0)
