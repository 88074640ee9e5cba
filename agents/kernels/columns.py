"""Columns of a matrix, many times the same, and their gradients added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compiling import kernel, share


def spread_columns(x: Tensor, which: Tensor) -> Tensor:
    """x [R, M] at columns int64 [N]: [R, N]."""
    result: Tensor = _Columns.apply(x, which)  # type: ignore[no-untyped-call]
    return result


class _Columns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, which: Tensor) -> Tensor:
        ctx.save_for_backward(which)
        ctx.count = x.shape[1]
        out = x.new_empty(len(x), len(which))
        share(copy_columns, len(x), x.detach().contiguous().numpy(), which.numpy(), out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arrived: Tensor) -> tuple[Tensor, None]:
        (which,) = ctx.saved_tensors
        found = arrived.new_zeros(len(arrived), ctx.count)
        memory = arrived.contiguous().numpy(), which.numpy(), found.numpy()
        share(add_columns, len(arrived), *memory)
        return found, None


@kernel
def copy_columns(start: int, end: int, x: np.ndarray, which: np.ndarray, out: np.ndarray) -> None:
    """Of rows `start` to `end`."""
    for row in range(start, end):
        for n in range(len(which)):
            out[row, n] = x[row, which[n]]


@kernel
def add_columns(start: int, end: int, x: np.ndarray, which: np.ndarray, out: np.ndarray) -> None:
    """Of rows `start` to `end`, four at a time: a sum waits for the one before."""
    whole = start + (end - start) // 4 * 4
    for row in range(start, whole, 4):
        for n in range(len(which)):
            k = which[n]
            out[row, k] += x[row, n]
            out[row + 1, k] += x[row + 1, n]
            out[row + 2, k] += x[row + 2, n]
            out[row + 3, k] += x[row + 3, n]
    for row in range(whole, end):
        for n in range(len(which)):
            out[row, which[n]] += x[row, n]
