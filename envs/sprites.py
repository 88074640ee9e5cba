"""Sprites: pictures of cells, drawn by upstream's renderer."""

from __future__ import annotations

import numpy as np
from minigrid.core.constants import IDX_TO_COLOR
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj

from .cells import EMPTY, ENCODING, UNSEEN

UP = 3  # the agent's direction in an egocentric view


def make_object(cell: int) -> WorldObj | None:
    """Upstream's object for a cell, None if there is none."""
    if cell in (UNSEEN, EMPTY):
        return None
    kind, color, state = (int(v) for v in ENCODING[cell])
    made = WorldObj.decode(kind, color, state)
    made.color = IDX_TO_COLOR[color]  # upstream decodes every goal as green
    return made


def draw_sprite(cell: int, agent: int | None, highlighted: bool, tile_size: int) -> np.ndarray:
    """A cell's picture, uint8 [tile_size, tile_size, 3].

    Args:
        cell: the cell.
        agent: the direction of an agent on it, None without one.
        highlighted: whether the agent sees the cell.
        tile_size: side in pixels.
    """
    tile = Grid.render_tile(make_object(cell), agent, highlighted, tile_size)
    return np.asarray(tile, np.uint8)
