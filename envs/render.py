"""Pictures of an environment: the whole grid, as upstream's ``render()``, and the agent's view."""

from __future__ import annotations

import numpy as np

from .cells import CELL_OF, UNSEEN
from .sprites import UP, draw_sprite
from .vision import make_partial_view


def render(record: np.void, view: int, tile_size: int) -> np.ndarray:
    """One environment's grid, with the cells that the agent sees highlighted.

    Args:
        record: the environment.
        view: side of the agent's square view in cells.
        tile_size: T, side of a cell in pixels.

    Returns:
        uint8 [H * T, W * T, 3].
    """
    width, height = int(record["width"]), int(record["height"])
    seen = seen_cells(record, view)
    image = np.empty((height, tile_size, width, tile_size, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            here = (x, y) == (record["x"], record["y"])
            agent = int(record["direction"]) if here else None
            cell = int(record["grid"][y * width + x])
            image[y, :, x] = draw_sprite(cell, agent, (x, y) in seen, tile_size)
    return image.reshape(height * tile_size, width * tile_size, 3)


def render_agent_view(record: np.void, view: int, tile_size: int) -> np.ndarray:
    """The agent's view, the agent at the bottom centre facing up: uint8 [V * T, V * T, 3].

    Args:
        record: the environment.
        view: V, side of the view in cells.
        tile_size: T, side of a cell in pixels.
    """
    image = np.empty((view, tile_size, view, tile_size, 3), np.uint8)
    for y, row in enumerate(agent_view_cells(record, view)):
        for x, cell in enumerate(row):
            agent = UP if (x, y) == (view // 2, view - 1) else None
            image[y, :, x] = draw_sprite(int(cell), agent, cell != UNSEEN, tile_size)
    return image.reshape(view * tile_size, view * tile_size, 3)


def agent_view_cells(record: np.void, view: int) -> np.ndarray:
    """The agent's view as cells, uint8 [V, V] by row and column."""
    image = np.empty(view * view * 3, np.uint8)
    make_partial_view(view)(record, image)
    rows = image.reshape(view, view, 3).swapaxes(0, 1)
    return np.array([[CELL_OF[tuple(cell)] for cell in row] for row in rows.tolist()], np.uint8)


def seen_cells(record: np.void, view: int) -> set[tuple[int, int]]:
    """The cells (x, y) that the agent sees, including some off the grid."""
    image = np.empty(view * view * 3, np.uint8)
    make_partial_view(view)(record, image)
    ahead = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)][record["direction"]])
    right = np.array([-ahead[1], ahead[0]])
    agent = np.array([record["x"], record["y"]], int)
    cells = np.argwhere(image.reshape(view, view, 3)[..., 0])  # type 0 is unseen
    return {
        tuple((agent + (i - view // 2) * right + (view - 1 - j) * ahead).tolist()) for i, j in cells
    }
