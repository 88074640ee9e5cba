"""Vectors of the view's cells, scaled and shifted by the mission (FiLM, Perez et al. 2018).

A cell's vector depends only on what it is (its type, color and state, or its pixels) and on the
mission, not on where it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from .kernels.compiling import has_kernels, inlined, kernel, share, type_of
from .kernels.lanes import WIDTH, above, choose, fma, load, nothing, rows, store
from .kernels.tiles import padding

TYPES, COLORS, STATES = 11, 6, 4  # of cells, as in MiniGrid
TRAITS = TYPES + COLORS + STATES
CODES = TYPES * COLORS * STATES
COPIES = 64  # of the table, on a GPU


def traits_of_codes() -> Tensor:
    """The traits that each code stands for, as ones in [CODES, TRAITS]."""
    code = torch.arange(CODES)
    kind, color, state = code // (COLORS * STATES), code // STATES % COLORS, code % STATES
    which = torch.stack([kind, TYPES + color, TYPES + COLORS + state], 1)
    return torch.zeros(CODES, TRAITS).scatter_(1, which, 1.0)


def look(cells: Tensor, which: Tensor, table: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """relu(scale · vector + shift) of every cell, then their maximum: [N, K + 1, C].

    Args:
        cells: types, colors and states uint8 [N, K, 3], or indices of rows of the table,
            int64 [N, K].
        which: int64 [N], each frame's mission.
        table: a vector for each code [CODES, C], or for each kind of cell.
        scale, shift: of each mission [M, C].

    Raises:
        ValueError: a type, color or state is out of range (only the compiled form checks).
    """
    if not has_kernels(cells):
        return look_by_definition(cells, which, table, scale, shift)
    if not torch.is_grad_enabled():
        return _look(cells, which, table, scale, shift)[0]
    seen: Tensor = _Look.apply(cells, which, table, scale, shift)  # type: ignore[no-untyped-call]
    return seen


def look_by_definition(
    cells: Tensor, which: Tensor, table: Tensor, scale: Tensor, shift: Tensor
) -> Tensor:
    """As `look`, in PyTorch."""
    if cells.dim() == 3:
        kind, color, state = cells.int().unbind(2)  # [N, K]
        cells = (kind * COLORS + color) * STATES + state
    if cells.device.type != "cpu":
        cells, table = in_copies(cells, table)
    vectors = F.embedding(cells, table)  # [N, K, C]
    scale, shift = (of_each(x, which).unsqueeze(1) for x in (scale, shift))  # [N, 1, C]
    seen = torch.relu(vectors * scale + shift)
    return torch.cat([seen, seen.amax(1, keepdim=True)], 1)


def in_copies(cells: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Cells [N, K] of a table [M, C] as cells of copies of it side by side, [COPIES · M, C]:
    a GPU adds up the gradients of a row one by one, and most cells are of a few rows.
    """
    own = torch.arange(len(cells), device=cells.device) % COPIES
    return cells + len(table) * own.unsqueeze(1), table.repeat(COPIES, 1)


def of_each(made: Tensor, which: Tensor) -> Tensor:
    """Rows [N, E] for frames, of what was made of missions [M, E], by their missions int64 [N]; the
    row of a single mission serves all frames.
    """
    return made.expand(len(which), -1) if len(made) == 1 else F.embedding(which, made)


def _look(
    cells: Tensor, which: Tensor, table: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`look` compiled, and what the backward pass needs; vectors are zero-padded to whole rows of
    lanes.
    """
    width, cells, which = table.shape[1], cells.contiguous(), which.contiguous()
    table, scale, shift = map(whole_rows, (table, scale, shift))
    seen = table.new_empty(len(cells), cells.shape[1] + 1, table.shape[1])
    memory = tuple(x.data_ptr() for x in (seen, table, scale, shift))
    arguments = (table.shape[1] // WIDTH, cells.numpy(), which.numpy(), memory)
    share(look_at_rows, len(cells), *arguments, type_of(table.dtype))
    return seen[..., :width], (cells, which, table, scale, shift, seen)


class _Look(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        found, kept = _look(*given)
        ctx.save_for_backward(*kept)
        ctx.width = found.shape[2]
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_seen: Tensor) -> tuple[Tensor | None, ...]:
        cells, which, table, scale, shift, seen = ctx.saved_tensors
        arrived = whole_rows(d_seen)
        found = tuple(torch.zeros_like(x) for x in (table, scale, shift))
        memory = tuple(x.data_ptr() for x in (seen, arrived, table, scale, *found))
        arguments = (table.shape[1] // WIDTH, cells.numpy(), which.numpy(), memory)
        # All frames add to the same rows: one thread.
        look_back(0, len(cells), *arguments, type_of(table.dtype))
        return None, None, *(x[:, : ctx.width] for x in found)


def whole_rows(x: Tensor) -> Tensor:
    """x [..., C], contiguous, its last axis zero-padded to whole rows of lanes."""
    more = padding(x.shape[-1])
    return (pad(x, (0, more)) if more else x).contiguous()


@kernel
def look_at_rows(
    start: int, end: int, width: int, cells: np.ndarray, which: Any, memory: Any, kind: Any
) -> None:
    """For frames `start` to `end`: fill in every cell's vector and their maximum."""
    seen, table, scale, shift = rows(memory, kind)
    count, zero = cells.shape[1], nothing(seen)
    for n in range(start, end):
        mission = which[n] * width
        for e in range(width):
            factor, term, top = load(scale, mission + e), load(shift, mission + e), zero
            for k in range(count):
                x = fma(load(table, code_of(cells, n, k) * width + e), factor, term)
                x = choose(above(zero, x), zero, x)
                top = choose(above(top, x), top, x)
                store(seen, (n * (count + 1) + k) * width + e, x)
            store(seen, (n * (count + 1) + count) * width + e, top)


@kernel
def look_back(
    start: int, end: int, width: int, cells: np.ndarray, which: Any, memory: Any, kind: Any
) -> None:
    """For frames `start` to `end`: add to the gradients of table, scale and shift."""
    seen, arrived, table, scale, d_table, d_scale, d_shift = rows(memory, kind)
    count, zero = cells.shape[1], nothing(seen)
    for n in range(start, end):
        mission = which[n] * width
        for e in range(width):
            factor, of_scale, of_shift = load(scale, mission + e), zero, zero
            here, last = n * (count + 1) * width + e, count * width
            top, left = load(seen, here + last), load(arrived, here + last)
            for k in range(count):
                place, code = here + k * width, code_of(cells, n, k) * width + e
                x = load(seen, place)
                taken = choose(above(top, x), zero, left)  # by the first that is the maximum
                left = left - taken
                got = choose(x, load(arrived, place) + taken, zero)
                of_shift = of_shift + got
                of_scale = fma(got, load(table, code), of_scale)
                store(d_table, code, fma(got, factor, load(d_table, code)))
            store(d_scale, mission + e, load(d_scale, mission + e) + of_scale)
            store(d_shift, mission + e, load(d_shift, mission + e) + of_shift)


@inlined
def code_of(cells: np.ndarray, n: int, k: int) -> Any:
    """The table's row for a frame's cell."""
    if cells.ndim == 2:
        return cells[n, k]
    type_, color, state = cells[n, k, 0], cells[n, k, 1], cells[n, k, 2]
    if type_ >= TYPES or color >= COLORS or state >= STATES:
        raise ValueError("no such cell: its type, color or state is out of range")
    return (np.int64(type_) * COLORS + np.int64(color)) * STATES + np.int64(state)
