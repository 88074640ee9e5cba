"""RGB observations: sprites over the symbolic view, equal to ``RGBImgPartialObsWrapper``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .cells import CELLS, ENCODING, UNSEEN
from .jit import Compiled
from .sprites import UP, draw_sprite

if TYPE_CHECKING:
    from .devices import Launcher

_ONE, _TWO = np.uint64(1), np.uint64(2)


@functools.cache
def draw_sprites(tile_size: int) -> np.ndarray:
    """Every cell as the agent sees it, then with the agent on it: words [2 * CELLS, rows, words].

    A word is the widest integer that a row of pixels is a whole number of.
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
    """The sprite of each (type, color, state), uint8 [types, colors, states]."""
    table = np.zeros(ENCODING.max(0) + 1, np.uint8)
    table[tuple(ENCODING.T)] = np.arange(CELLS)
    return table


def make_paint_row(view: int, tile: int, words: int, store: Callable[..., None]) -> Compiled:
    """The function that paints one row of pixels, counted over all images.

    ``store(pixels, at, word)`` writes a word to memory as is best where it runs.
    """
    agent_row, agent_column, rows = view - 1, view // 2, view * tile

    def paint_row(image: Any, row: int, sprite_of: Any, sprites: Any, pixels: Any) -> None:
        i, y, line = np.uint64(row // rows), row % rows // tile, np.uint64(row % tile)
        at = np.uint64(row * view * words)
        for x in range(view):
            code = np.uint64(3 * (x * view + y))
            kind, color, state = image[i, code], image[i, code + _ONE], image[i, code + _TWO]
            sprite = np.uint64(sprite_of[kind, color, state])
            if y == agent_row and x == agent_column:
                sprite += np.uint64(CELLS)
            for word in range(words):
                store(pixels, at, sprites[sprite, line, np.uint64(word)])
                at += _ONE

    paint_row.__qualname__ = f"paint_row-{view}-{tile}-{words}"  # see envs.jit
    return cast(Compiled, njit(paint_row, inline="always"))


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
