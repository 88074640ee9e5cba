"""Batches as kernels have them: filled up to whole tiles of sixteen environments, B' of them."""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .lanes import WIDTH


def padding(batch: int) -> int:
    """How many environments are missing to whole tiles."""
    return -batch % WIDTH


def fill(x: Tensor) -> Tensor:
    """x [T, B, R], each step filled up to whole tiles with zeros: [T, B', R], contiguous."""
    more = padding(x.shape[1])
    return (pad(x, (0, 0, 0, more)) if more else x).contiguous()


SPARES = 8  # of memory of each size, kept for use once nobody else holds it any more
SIZES = 32  # of which there are spares: those asked for last
_spares: dict[tuple[int, torch.dtype], list[np.ndarray]] = {}


def scratch(like: Tensor, *shape: int) -> Tensor:
    """A tensor of any content, of a type like another's, in memory that served before.

    Fresh memory costs more time than filling it in, since the system clears each page.
    """
    size = math.prod(shape)
    if size == 0:
        return like.new_empty(shape)
    key = size, like.dtype
    spares = _spares[key] = _spares.pop(key, [])  # now the last that was asked for
    if len(_spares) > SIZES:
        del _spares[next(iter(_spares))]
    free = next((i for i in range(len(spares)) if _holders(spares, i) == _OURS), None)
    if free is not None:
        return torch.from_numpy(spares[free]).view(shape)
    memory = torch.empty(size, dtype=like.dtype).numpy()  # which begins where a row may
    if len(spares) < SPARES:
        spares.append(memory)
    return torch.from_numpy(memory).view(shape)


def total(parts: Tensor) -> Tensor:
    """The sum over tiles [tiles, ...]; of one tile it is what that has, in the same memory."""
    return parts[0] if len(parts) == 1 else parts.sum(0)


def _holders(arrays: list[np.ndarray], i: int) -> int:
    return sys.getrefcount(arrays[i])


_OURS = _holders([np.empty(1)], 0)  # where the list is the only one
