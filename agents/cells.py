"""The vectors of the view's cells: of each cell one row of a table for every trait, summed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from .kernels.compiling import has_kernels, inlined, kernel, share, type_of
from .kernels.lanes import WIDTH, load, rows, store
from .kernels.rows import clear
from .kernels.tiles import padding

TYPES, COLORS, STATES = 11, 6, 4  # of a cell, upstream's
TRAITS = TYPES + COLORS + STATES
BLOCK = 32  # frames whose sums, and a cell's part of the table, fit the first-level cache


def add_cells(cells: Tensor, table: Tensor, apart: bool = False) -> Tensor:
    """The rows of all cells, or of each one apart, summed.

    Args:
        cells: types, colors and states uint8 [N, K, 3].
        table: [K · TRAITS, E].
        apart: whether each cell stays by itself.

    Returns:
        [N, E], or [N, K, E].

    Raises:
        ValueError: there is no such type, color or state.
    """
    add = _Sum.apply if has_kernels(cells.device) else add_by_definition
    sums: Tensor = add(cells, table, apart)
    return sums


def add_by_definition(cells: Tensor, table: Tensor, apart: bool) -> Tensor:
    """As `add_cells`, by torch."""
    firsts = torch.arange(cells.shape[1], device=cells.device).unsqueeze(1) * TRAITS
    offsets = firsts + torch.tensor([0, TYPES, TYPES + COLORS], device=cells.device)
    found = cells + offsets.int()  # [N, K, 3]
    sums = F.embedding_bag(found.flatten(0, 1) if apart else found.flatten(1), table, mode="sum")
    return sums.view(*cells.shape[: 1 + apart], -1)


class _Sum(torch.autograd.Function):
    """The same, compiled: a row of E numbers is some rows of lanes, filled up with zeros."""

    @staticmethod
    def forward(ctx: Any, cells: Tensor, table: Tensor, apart: bool) -> Tensor:
        cells, (count, width) = cells.contiguous(), table.shape
        table = _whole_rows(table)
        sums = table.new_empty(len(cells), cells.shape[1] if apart else 1, table.shape[1])
        memory = (sums.data_ptr(), table.data_ptr())
        share(add_rows, len(cells), _sizes(sums), cells.numpy(), memory, type_of(table.dtype))
        ctx.save_for_backward(cells)
        ctx.shape = count, width
        return (sums if apart else sums.squeeze(1))[..., :width]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        (cells,), (count, width) = ctx.saved_tensors, ctx.shape
        arrived = _whole_rows(gradient)
        arrived = arrived.view(len(cells), -1, arrived.shape[-1])
        of_table = arrived.new_zeros(count, arrived.shape[2])
        memory = (of_table.data_ptr(), arrived.data_ptr())
        arguments = (_sizes(arrived), cells.numpy(), memory, type_of(arrived.dtype))
        share(spread_rows, cells.shape[1], *arguments)
        return None, of_table[:, :width], None


def _whole_rows(x: Tensor) -> Tensor:
    """x [..., E] in one piece, its last axis filled up with zeros to rows of lanes."""
    more = padding(x.shape[-1])
    return (pad(x, (0, more)) if more else x).contiguous()


def _sizes(sums: Tensor) -> tuple[int, int]:
    """Of [N, K or 1, E]: how many sums a frame has, and how many rows of lanes each of them."""
    return sums.shape[1], sums.shape[2] // WIDTH


@kernel
def add_rows(start: int, end: int, sizes: Any, cells: np.ndarray, memory: Any, kind: Any) -> None:
    """Of frames `start` to `end`: fills the sums in."""
    (places, width), (sums, table) = sizes, rows(memory, kind)
    clear(sums + start * places * width, (end - start) * places * width)
    for first in range(start, end, BLOCK):
        for k in range(cells.shape[1]):
            for n in range(first, min(first + BLOCK, end)):
                type_, color, state = cells[n, k, 0], cells[n, k, 1], cells[n, k, 2]
                if type_ >= TYPES or color >= COLORS or state >= STATES:
                    raise ValueError("no such cell: its type, color or state is out of range")
                a, b, c = rows_of(table + k * TRAITS * width, width, type_, color, state)
                out = sums + (n * places + min(k, places - 1)) * width
                for e in range(width):
                    store(out, e, load(out, e) + (load(a, e) + load(b, e) + load(c, e)))


@kernel
def spread_rows(
    start: int, end: int, sizes: Any, cells: np.ndarray, memory: Any, kind: Any
) -> None:
    """Of cells `start` to `end`: each frame's gradient added to the rows that it was the sum of."""
    (places, width), (table, gradient) = sizes, rows(memory, kind)
    for k in range(start, end):
        for n in range(len(cells)):
            type_, color, state = cells[n, k, 0], cells[n, k, 1], cells[n, k, 2]
            a, b, c = rows_of(table + k * TRAITS * width, width, type_, color, state)
            arrived = gradient + (n * places + min(k, places - 1)) * width
            for e in range(width):
                got = load(arrived, e)
                store(a, e, load(a, e) + got)
                store(b, e, load(b, e) + got)
                store(c, e, load(c, e) + got)


@inlined
def rows_of(first: Any, width: int, type_: Any, color: Any, state: Any) -> Any:
    """The three rows of a cell's traits."""
    of_type, of_color = first + np.int64(type_) * width, first + (TYPES + np.int64(color)) * width
    return of_type, of_color, first + (TYPES + COLORS + np.int64(state)) * width
