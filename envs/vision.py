"""The agent's view: egocentric, with occlusion, encoded as upstream does.

Upstream sweeps the view row by row, from the agent's row up, left to right and back: a lit
transparent cell lights its neighbour and the row above. With one bit per cell this is a flood fill
within each row, so a row takes a few shifts.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import numpy as np
from minigrid.core.constants import OBJECT_TO_IDX
from numba import njit

from .cells import CLOSED_DOOR, ENCODING, KEY, RED, WALL
from .jit import Compiled
from .record import Record

_CODE = ENCODING.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)
_AGENT = np.uint32(OBJECT_TO_IDX["agent"] + (RED << 8))
_OPAQUE, _OPAQUE_END = np.uint8(CLOSED_DOOR), np.uint8(KEY)
_BYTE, _TWO_BYTES = np.uint32(8), np.uint32(16)
_ONE, _TWO = np.uint64(1), np.uint64(2)


@njit
def write_cell(image: Any, at: Any, code: Any) -> None:
    """Write a cell's type, color and state, starting at ``at``."""
    image[at] = code
    image[at + _ONE] = code >> _BYTE
    image[at + _TWO] = code >> _TWO_BYTES


@njit
def surroundings(e: Record) -> tuple[int, int, int, int, int]:
    """Numbers of cells ahead, left and right of the agent; index steps ahead and to the right."""
    up, down, left, right = e.y + 0, e.height - 1 - e.y, e.x + 0, e.width - 1 - e.x
    width = e.width + 0
    if e.direction == 0:
        return right, up, down, 1, width
    if e.direction == 1:
        return down, right, left, width, -1
    if e.direction == 2:
        return left, down, up, -1, -width
    return up, left, right, -width, 1


@njit
def flood_up(lit: int, clear: int) -> int:
    """Spread bits to higher neighbours through clear ones (masks of up to 31 bits)."""
    lit |= (lit & clear) << 1
    clear &= clear >> 1
    lit |= (lit & clear) << 2
    clear &= clear >> 2
    lit |= (lit & clear) << 4
    clear &= clear >> 4
    lit |= (lit & clear) << 8
    clear &= clear >> 8
    return lit | ((lit & clear) << 16)


@njit
def flood_down(lit: int, clear: int) -> int:
    """Spread bits to lower neighbours through clear ones (masks of up to 31 bits)."""
    lit |= (lit & clear) >> 1
    clear &= clear << 1
    lit |= (lit & clear) >> 2
    clear &= clear << 2
    lit |= (lit & clear) >> 4
    clear &= clear << 4
    lit |= (lit & clear) >> 8
    clear &= clear << 8
    return lit | ((lit & clear) >> 16)


@functools.cache
def make_partial_view(view: int) -> Compiled:
    """The function that writes one environment's view of ``view`` x ``view`` cells.

    It takes the record and a flat ``uint8`` row of ``view * view * 3``, indexed [x, y, channel],
    with the agent at x = ``view // 2``, y = ``view - 1``, facing y = 0.
    """
    half = view // 2
    all_bits = (1 << view) - 1
    not_last, not_first = all_bits >> 1, all_bits - 1
    column = np.uint64(3 * view)

    def partial_view(e: Record, image: Any) -> None:
        ahead_room, left_room, right_room, step_ahead, step_right = surroundings(e)
        first, last = max(0, half - left_room), min(view - 1, half + right_room)
        for at in range(image.size):
            image[at] = 0  # unseen
        row = e.y * e.width + e.x - half * step_right
        lit = all_bits if e.see_through else 1 << half
        for ahead in range(view):
            if ahead > ahead_room:
                last = -1
            above = all_bits
            if not e.see_through:
                clear = 0
                for i in range(first, last + 1):
                    cell = e.grid[np.uint64(row + i * step_right)]
                    clear |= int(cell < _OPAQUE or cell >= _OPAQUE_END) << i
                lit = all_bits & flood_up(lit, clear & not_last)
                above = lit & clear & not_last
                above |= above << 1
                lit = flood_down(lit, clear & not_first)
                leftwards = lit & clear & not_first
                above |= leftwards | (leftwards >> 1)
            corner = np.uint64((view - 1 - ahead) * 3)
            for i in range(first, last + 1):
                code = _CODE[e.grid[np.uint64(row + i * step_right)]]
                write_cell(image, corner + np.uint64(i) * column, code * np.uint32((lit >> i) & 1))
            beyond = lit & ~((2 << last) - (1 << first)) if last >= 0 else lit
            if beyond:
                for i in range(view):
                    if (beyond >> i) & 1:
                        write_cell(image, corner + np.uint64(i) * column, _CODE[WALL])
            if not above:
                break
            lit = above
            row += step_ahead
        write_cell(image, np.uint64((half * view + view - 1) * 3), _CODE[e.carrying])

    partial_view.__qualname__ = f"partial_view-{view}"  # see envs.jit
    return cast(Compiled, njit(partial_view))


@functools.cache
def make_full_view(width: int, height: int) -> Compiled:
    """The function that writes one environment's whole grid, agent included, without occlusion.

    It takes the record and a flat ``uint8`` row of ``width * height * 3``, indexed [x, y, channel];
    cells beyond a smaller grid's edges are unseen.
    """

    def full_view(e: Record, image: Any) -> None:
        for at in range(image.size):
            image[at] = 0
        for y in range(e.height):
            for x in range(e.width):
                corner = np.uint64((x * height + y) * 3)
                write_cell(image, corner, _CODE[e.grid[np.uint64(y * e.width + x)]])
        agent = _AGENT | (np.uint32(e.direction) << _TWO_BYTES)
        write_cell(image, np.uint64((e.x * height + e.y) * 3), agent)

    full_view.__qualname__ = f"full_view-{width}-{height}"
    return cast(Compiled, njit(full_view))
