"""What cores share: reproducible random numbers."""

from __future__ import annotations

from torch import Tensor


def scramble(x: Tensor) -> Tensor:
    """SplitMix64's mixing of int64: neighbours become unrelated."""
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31 & 0x1FFFFFFFF)
