"""What cores share: reproducible random numbers, and a check of shapes."""

from __future__ import annotations

from torch import Tensor

from metarims.errors import UsageError


def scramble(x: Tensor) -> Tensor:
    """SplitMix64's mixing of int64: neighbours become unrelated."""
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31 & 0x1FFFFFFFF)


def check_shape(what: str, x: Tensor, *shape: int) -> None:
    """Refuse a tensor of another shape, beyond whose end kernels would read."""
    if x.shape != shape:
        raise UsageError(f"{what} must be of shape {list(shape)}, got {list(x.shape)}")
