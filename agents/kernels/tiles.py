"""Batches as kernels have them: environments last in memory, in tiles of sixteen."""

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


def features_first(x: Tensor, batch: int) -> Tensor:
    """x [T, B, F] to [F, T·B], each step padded with zeros to whole tiles."""
    more = padding(batch)
    return (pad(x, (0, 0, 0, more)) if more else x).flatten(0, 1).T


def frames_first(x: Tensor, steps: int, batch: int) -> Tensor:
    """x [F, T·B] to [T, B, F], without the padding."""
    apart = x.view(len(x), steps, x.shape[1] // steps)
    return (apart[..., :batch] if padding(batch) else apart).permute(1, 2, 0)


def flags_of(x: Tensor, kind: torch.dtype) -> Tensor:
    """bool [T, B] to ones and zeros of a type, [1, T·B], likewise."""
    more = padding(x.shape[1])
    return (pad(x, (0, more)) if more else x).to(kind).reshape(1, -1)


def state_of(x: Tensor) -> Tensor:
    """A state [B, ...] to [F, B], likewise, in one piece."""
    rows, more = x.flatten(1), padding(len(x))
    return (pad(rows, (0, 0, 0, more)) if more else rows).T.contiguous()


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


def _holders(arrays: list[np.ndarray], i: int) -> int:
    return sys.getrefcount(arrays[i])


_OURS = _holders([np.empty(1)], 0)  # where the list is the only one
