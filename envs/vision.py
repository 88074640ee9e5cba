"""What the agent sees: the egocentric view with occlusion, encoded as upstream does.

Upstream sweeps the view row by row, from the agent's row up, left to right and back: a lit cell
that can be seen through lights its neighbour and the row above. With one bit a cell that is a flood
fill inside each row, so a row takes a few shifts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from .cells import ENCODING, SEE_BEHIND, UNSEEN, WALL

_KIND, _COLOR, _STATE = (ENCODING[:, channel].copy() for channel in range(3))


@njit
def flood_up(lit: int, clear: int) -> int:
    """Spread bits to higher neighbours for as long as they are clear (up to 31 of them)."""
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
    """Spread bits to lower neighbours for as long as they are clear (up to 31 of them)."""
    lit |= (lit & clear) >> 1
    clear &= clear << 1
    lit |= (lit & clear) >> 2
    clear &= clear << 2
    lit |= (lit & clear) >> 4
    clear &= clear << 4
    lit |= (lit & clear) >> 8
    clear &= clear << 8
    return lit | ((lit & clear) >> 16)


def make_observe(view: int) -> Callable[[Any, Any], None]:
    """The function that writes one environment's view of ``view`` x ``view`` cells.

    It takes the record and a flat ``uint8`` row of ``view * view * 3``, indexed [x, y, channel],
    the agent at the middle of the last y, looking towards y = 0.
    """
    half = view // 2
    all_bits = (1 << view) - 1
    not_last, not_first = all_bits >> 1, all_bits - 1

    @njit
    def observe(e: Any, image: Any) -> None:
        width, height = e.width, e.height
        if e.direction == 0:
            dx, dy = 1, 0
        elif e.direction == 1:
            dx, dy = 0, 1
        elif e.direction == 2:
            dx, dy = -1, 0
        else:
            dx, dy = 0, -1
        step_ahead, step_right = dx + dy * width, dx * width - dy
        here = e.y * width + e.x
        # which columns of the view lie on the grid
        if dx != 0:
            right_room, left_room = height - 1 - e.y, e.y + 0
            if dx < 0:
                right_room, left_room = left_room, right_room
            ahead_room = width - 1 - e.x if dx > 0 else e.x + 0
        else:
            right_room, left_room = e.x + 0, width - 1 - e.x
            if dy < 0:
                right_room, left_room = left_room, right_room
            ahead_room = height - 1 - e.y if dy > 0 else e.y + 0
        first, last = max(0, half - left_room), min(view - 1, half + right_room)

        lit = all_bits if e.see_through else 1 << half
        for ahead in range(view):
            row = here + ahead * step_ahead - half * step_right
            beyond = ahead > ahead_room
            if not e.see_through:
                clear = 0
                if not beyond:
                    for i in range(first, last + 1):
                        clear |= SEE_BEHIND[e.grid[row + i * step_right]] << i
                lit = flood_up(lit, clear & not_last)
                lit = lit & all_bits
                rightwards = lit & clear & not_last
                lit = flood_down(lit, clear & not_first)
                leftwards = lit & clear & not_first
                above = rightwards | (rightwards << 1) | leftwards | (leftwards >> 1)
            else:
                above = all_bits
            at = (view - 1 - ahead) * 3
            for i in range(view):
                cell = UNSEEN
                if (lit >> i) & 1:
                    if beyond or i < first or i > last:
                        cell = WALL
                    else:
                        cell = e.grid[row + i * step_right]
                image[at] = _KIND[cell]
                image[at + 1] = _COLOR[cell]
                image[at + 2] = _STATE[cell]
                at += view * 3
            lit = above
        agent = (half * view + view - 1) * 3
        image[agent] = _KIND[e.carrying]
        image[agent + 1] = _COLOR[e.carrying]
        image[agent + 2] = _STATE[e.carrying]

    return observe
