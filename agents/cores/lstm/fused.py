"""The LSTM fused: a span on a GPU, forward and backward, as two kernels over tiles of environments.

Gates and states of all steps are kept; gradients of weights are products of those, by torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton.language import constexpr

from metarims.protocols import State

from ...frames import Frames
from ...kernels.fusing import (
    add_gates,
    choose_each,
    contiguous,
    launch,
    multiply_back,
    put,
    put_gates,
    step_lstm,
    step_lstm_back,
    take,
    take_gates,
    take_row,
)

if TYPE_CHECKING:
    from .cell import LSTM

BLOCK = 32  # units worked on at a time, and numbers that a product adds up at a time


def run(
    cell: LSTM, frames: Frames, state: State, starts: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `agents.cores.lstm.cell.run_by_definition`."""
    h, c = state
    z = frames.of_every(cell.input(frames.different))  # [T, B, 4·d]
    states, last = _Span.apply(  # type: ignore[no-untyped-call]
        starts, z, h, c, cell.start, cell.hidden_weight
    )
    return states, (states[-1], last)


class Sizes(NamedTuple):
    """Of a span: T, B and d."""

    steps: int
    batch: int
    hidden: int


class Forward(NamedTuple):
    """What the kernel forward reads and fills in: starts bool [T, B], what of the gates comes from
    the input [T, B, 4·d], h and c before and after each step [T + 1, B, d], the gates' own numbers
    [T, B, 4·d], the parameters.
    """

    starts: Any
    z: Any
    states: Any
    cells: Any
    gates: Any
    start: Any
    weight: Any


class Backward(NamedTuple):
    """Likewise backward: starts [T + 1, B], and gradients of h after each step [T, B, d], the
    gates, and h and c before each step, after resets, and after the last [T + 1, B, d].
    """

    starts: Any
    cells: Any
    gates: Any
    weight: Any
    d_outputs: Any
    d_z: Any
    d_states: Any
    d_cells: Any


class _Span(torch.autograd.Function):
    """forward: starts [T, B], the gates' part from the input [T, B, 4·d], h and c [B, d], and the
    parameters. Returns h after each step [T, B, d] and c after the last [B, d].
    """

    @staticmethod
    def forward(
        ctx: Any, starts: Tensor, z: Tensor, h: Tensor, c: Tensor, start: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        (steps, batch), taped = starts.shape, any(ctx.needs_input_grad)
        s = Sizes(steps, batch, h.shape[1])
        states, cells = z.new_empty(2, s.steps + 1, s.batch, s.hidden).unbind()
        states[0], cells[0] = h, c
        gates = torch.empty_like(z, memory_format=torch.contiguous_format) if taped else z
        memory = Forward(*contiguous(starts, z, states, cells, gates, start, weight))
        launch(forward, s.batch, memory, s, taped=taped, block=BLOCK)
        ctx.save_for_backward(*memory)
        return states[1:], cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        x = Forward(*ctx.saved_tensors)
        d_z, d_states, d_cells = map(torch.empty_like, (x.gates, x.states, x.cells))
        d_states[-1], d_cells[-1] = 0, d_last
        starts = F.pad(x.starts, (0, 0, 0, 1))
        given = contiguous(starts, x.cells, x.gates, x.weight, d_outputs)
        s, memory = Sizes(*d_outputs.shape), (*given, d_z, d_states, d_cells)
        launch(backward, s.batch, Backward(*memory), s, block=BLOCK)
        begins = x.starts.unsqueeze(2)
        before = torch.where(begins, x.start, x.states[:-1])  # [T, B, d]
        d_weight = d_z.flatten(0, 1).T @ before.flatten(0, 1)
        d_start = torch.where(begins, d_states[:-1], 0.0).sum((0, 1))
        d_h, d_c = (torch.where(begins[0], 0.0, each[0]) for each in (d_states, d_cells))
        return None, d_z, d_h, d_c, d_start, d_weight


@triton.jit
def forward(
    x: tl.tuple,
    s: tl.tuple,
    taped: constexpr,
    block: constexpr,
    tile: constexpr,
    precision: constexpr,
) -> None:
    """One tile, of a `Forward` and `Sizes`."""
    d, own = s.hidden, tl.program_id(0) * tile + tl.arange(0, tile)
    for t in range(s.steps):
        begins = tl.load(x.starts + t * s.batch + own, own < s.batch, other=0) != 0
        now = tl.cast(t, tl.int64) * s.batch * d
        after = now + s.batch * d
        for first in range(0, d, block):
            units = first + tl.arange(0, block)
            gates = take_gates(x.z + 4 * now, 4 * d, own, s.batch, units, d)
            for k in range(0, d, block):
                inner = k + tl.arange(0, block)
                h = take(x.states + now, d, own, s.batch, inner, d)
                h = choose_each(begins, take_row(x.start, inner, d), h)
                gates = add_gates(h, x.weight, units, d, inner, d, gates, precision)
            c = take(x.cells + now, d, own, s.batch, units, d)
            gates, h, c = step_lstm(gates, choose_each(begins, 0.0, c))
            put(x.states + after, d, own, s.batch, units, d, h)
            put(x.cells + after, d, own, s.batch, units, d, c)
            if taped:
                put_gates(x.gates + 4 * now, 4 * d, own, s.batch, units, d, gates)
        tl.debug_barrier()


@triton.jit
def backward(
    x: tl.tuple, s: tl.tuple, block: constexpr, tile: constexpr, precision: constexpr
) -> None:
    """One tile, of a `Backward` and `Sizes`."""
    d, own = s.hidden, tl.program_id(0) * tile + tl.arange(0, tile)
    for back in range(s.steps):
        t = s.steps - 1 - back
        begins = tl.load(x.starts + t * s.batch + own, own < s.batch, other=0) != 0
        ends = tl.load(x.starts + (t + 1) * s.batch + own, own < s.batch, other=0) != 0
        now = tl.cast(t, tl.int64) * s.batch * d
        after = now + s.batch * d
        for first in range(0, d, block):
            units = first + tl.arange(0, block)
            dh = choose_each(ends, 0.0, take(x.d_states + after, d, own, s.batch, units, d))
            dh += take(x.d_outputs + now, d, own, s.batch, units, d)
            dc = choose_each(ends, 0.0, take(x.d_cells + after, d, own, s.batch, units, d))
            before = choose_each(begins, 0.0, take(x.cells + now, d, own, s.batch, units, d))
            c = take(x.cells + after, d, own, s.batch, units, d)
            gates = take_gates(x.gates + 4 * now, 4 * d, own, s.batch, units, d)
            d_gates, dc = step_lstm_back(gates, before, c, dh, dc)
            put_gates(x.d_z + 4 * now, 4 * d, own, s.batch, units, d, d_gates)
            put(x.d_cells + now, d, own, s.batch, units, d, dc)
        tl.debug_barrier()
        for first in range(0, d, block):
            inner = first + tl.arange(0, block)
            dh = tl.zeros([tile, block], x.d_z.dtype.element_ty)
            for k in range(0, 4 * d, block):
                rows = k + tl.arange(0, block)
                dz = take(x.d_z + 4 * now, 4 * d, own, s.batch, rows, 4 * d)
                dh = multiply_back(dz, x.weight, rows, 4 * d, inner, d, dh, precision)
            put(x.d_states + now, d, own, s.batch, inner, d, dh)
        tl.debug_barrier()
