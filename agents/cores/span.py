"""What cores share: resets inside a span, and random numbers that are the same again."""

from __future__ import annotations

import torch
from torch import Tensor


def reset_rows(starts: Tensor, dtype: torch.dtype) -> list[Tensor | None]:
    """Of starts [T, B] a row for each step, 1 where an episode starts; None for a step where none
    does. A GPU is not waited for to know.
    """
    needed = [True] * len(starts) if starts.is_cuda else starts.any(1).tolist()
    rows = starts.to(dtype)
    return [row if need else None for row, need in zip(rows, needed, strict=True)]


def scramble(x: Tensor) -> Tensor:
    """SplitMix64's mixing of int64: neighbours become unrelated."""
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31 & 0x1FFFFFFFF)
