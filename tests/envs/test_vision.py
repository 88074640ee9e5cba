"""Our view of random grids against upstream's, for every view size."""

from __future__ import annotations

import numpy as np
import pytest
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from minigrid.envs import EmptyEnv

from envs.cells import CELLS, EMPTY, ENCODING, KEY, UNSEEN, WALL
from envs.record import RECORD
from envs.vision import make_partial_view


def random_world(rng, see_through):
    """The same random world as one of our records and as an upstream environment."""
    width, height = rng.integers(4, 14, 2)
    cells = rng.integers(EMPTY, CELLS, width * height)
    cells[rng.random(cells.size) < 0.5] = EMPTY
    cells[rng.random(cells.size) < 0.2] = WALL
    x, y, direction = rng.integers(width), rng.integers(height), rng.integers(4)
    carrying = KEY + rng.integers(6) if rng.random() < 0.5 else EMPTY

    records = np.zeros(1, RECORD)
    for name, value in {
        "width": width, "height": height, "x": x, "y": y, "direction": direction,
        "carrying": carrying, "see_through": see_through,
    }.items():  # fmt: skip
        records[name] = value
    records["grid"][0, : cells.size] = cells

    upstream = EmptyEnv(size=5)
    upstream.grid = Grid(int(width), int(height))
    upstream.grid.grid = [decode(cell) for cell in cells]
    upstream.agent_pos, upstream.agent_dir = (int(x), int(y)), int(direction)
    upstream.carrying = decode(carrying)
    upstream.see_through_walls = see_through
    return records[0], upstream


def decode(cell):
    kind, color, state = (int(v) for v in ENCODING[cell])
    thing = WorldObj.decode(kind, color, state)
    if thing is not None:
        thing.color = next(n for n, i in COLOR_INDICES.items() if i == color)
    return thing


COLOR_INDICES = {"red": 0, "green": 1, "blue": 2, "purple": 3, "yellow": 4, "grey": 5}


@pytest.mark.parametrize("view", [3, 5, 7, 9, 13])
@pytest.mark.parametrize("see_through", [False, True])
def test_view_equals_upstream(view, see_through):
    write_view = make_partial_view(view)
    rng = np.random.default_rng(view)
    image = np.empty(view * view * 3, np.uint8)
    for _ in range(150):
        record, upstream = random_world(rng, see_through)
        upstream.agent_view_size = view
        write_view(record, image)
        expected = upstream.gen_obs()["image"]
        np.testing.assert_array_equal(image.reshape(view, view, 3), expected)


def test_cells_round_trip_through_upstream_encoding():
    for cell in range(CELLS):
        if cell not in (UNSEEN, EMPTY):
            assert decode(cell).encode() == tuple(ENCODING[cell])
