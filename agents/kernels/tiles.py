"""Batches in the kernels' layout: padded to B' environments, whole tiles of sixteen."""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .lanes import WIDTH


def padding(batch: int) -> int:
    """How many environments to pad with to whole tiles."""
    return -batch % WIDTH


def fill(x: Tensor) -> Tensor:
    """x [T, B, R], each step zero-padded to whole tiles: [T, B', R], contiguous."""
    more = padding(x.shape[1])
    return (pad(x, (0, 0, 0, more)) if more else x).contiguous()


SPARES = 8  # buffers of each size, kept for reuse once nothing else holds them
SIZES = 32  # that have spares: those requested last
_spares: dict[tuple[int, torch.dtype], list[np.ndarray]] = {}


def scratch(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor of another's dtype, in reused memory if possible.

    Fresh memory costs more time than filling it, as the system clears each page.
    """
    size = math.prod(shape)
    if size == 0:
        return like.new_empty(shape)
    key = size, like.dtype
    spares = _spares[key] = _spares.pop(key, [])  # now the last requested
    if len(_spares) > SIZES:
        del _spares[next(iter(_spares))]
    free = next((i for i in range(len(spares)) if _holders(spares, i) == _OURS), None)
    if free is not None:
        return torch.from_numpy(spares[free]).view(shape)
    memory = torch.empty(size, dtype=like.dtype).numpy()  # aligned as rows must be
    if len(spares) < SPARES:
        spares.append(memory)
    return torch.from_numpy(memory).view(shape)


def total(parts: Tensor) -> Tensor:
    """The sum over tiles [tiles, ...]; with one tile, a view of it."""
    return parts[0] if len(parts) == 1 else parts.sum(0)


def _holders(arrays: list[np.ndarray], i: int) -> int:
    return sys.getrefcount(arrays[i])


_OURS = _holders([np.empty(1)], 0)  # if the list is the only holder
