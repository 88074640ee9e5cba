"""RGB observations: the symbolic view drawn in sprites, equal to ``RGBImgPartialObsWrapper``."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from .cells import CELLS, ENCODING, UNSEEN, WALL
from .devices import Launcher
from .sprites import UP, draw_sprite


@functools.cache
def draw_sprites(tile_size: int) -> np.ndarray:
    """Sprites of every cell as seen, then of each with the agent on it: [2 * CELLS, rows, words].

    A word is the widest integer type that divides a row of pixels.
    """
    sprites = np.stack(
        [
            draw_sprite(cell, agent, cell != UNSEEN, tile_size)
            for agent in (None, UP)
            for cell in range(CELLS)
        ]
    )
    width = next(size for size in (8, 4, 2, 1) if tile_size * 3 % size == 0)
    rows = np.ascontiguousarray(sprites.reshape(2 * CELLS, tile_size, tile_size * 3))
    return rows.view(f"i{width}")


def index_sprites() -> np.ndarray:
    """The sprite index of each (type, color, state), uint8 [types, colors, states]."""
    table = np.zeros(ENCODING.max(0) + 1, np.uint8)
    table[tuple(ENCODING.T)] = np.arange(CELLS)
    return table


@functools.cache
def types_by_sprite(tile_size: int) -> dict[bytes, int]:
    """The cell type that each sprite shows, with or without the agent, by the sprite's bytes.

    A goal looks like a wall of its color. Levels have grey walls and green goals: grey is a wall.
    """
    sprites = draw_sprites(tile_size)
    order = [*range(2 * CELLS), WALL]  # among identical sprites, the last one counts
    return {sprites[i].tobytes(): int(ENCODING[i % CELLS, 0]) for i in order}


def read_types(tiles: Tensor) -> Tensor:
    """The types of cells drawn in pixels: tiles uint8 [..., T, T, 3] to int64 [...].

    Raises:
        ValueError: a tile is no cell's sprite.
    """
    size = tiles.shape[-2]
    flat = np.ascontiguousarray(tiles.flatten(-3).cpu().numpy())
    pictures = flat.view(f"V{flat.shape[-1]}")[..., 0]
    different, which = np.unique(pictures, return_inverse=True)
    known = types_by_sprite(size)
    if any(picture.tobytes() not in known for picture in different):
        raise ValueError("a tile matches no cell")
    types = np.array([known[picture.tobytes()] for picture in different])
    return torch.from_numpy(types[which.reshape(pictures.shape)]).to(tiles.device)


class Painter:
    """Turns symbolic views, uint8 [n, V * V * 3], into pixels, uint8 [n, V * T, V * T, 3]."""

    def __init__(self, launcher: Launcher, device: torch.device, view: int, tile_size: int):
        sprites = draw_sprites(tile_size)
        self.side = view * tile_size
        self._launcher = launcher
        self._sprites = torch.from_numpy(sprites).to(device)
        self._sprite_of = torch.from_numpy(index_sprites()).to(device)
        self._kernel = launcher.make_paint(view, tile_size, sprites.shape[2])
        self._memory = launcher.make_memory(device)

    def __call__(self, image: Tensor) -> Tensor:
        """Paint views, uint8 [n, V * V * 3]: pixels, uint8 [n, V * T, V * T, 3]."""
        count = len(image)
        pixels = self._memory(count * self.side * self.side * 3)
        arrays = (image, self._sprite_of, self._sprites, pixels.view(self._sprites.dtype))
        self._launcher.launch(self._kernel, count, *map(self._launcher.as_array, arrays))
        return pixels.view(count, self.side, self.side, 3)
