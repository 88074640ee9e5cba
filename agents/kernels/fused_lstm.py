"""A fused LSTM: a span on a GPU, forward and backward, as two kernels over tiles of environments.

Gates and states of all steps are kept; torch multiplies these for the weights' gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor, einsum
from torch.autograd.function import once_differentiable
from triton.language import constexpr

from .fusing import (
    Span,
    add_gates,
    apart,
    arrived,
    choose_each,
    contiguous,
    first_state,
    launch,
    multiply_back,
    own_of,
    put,
    put_gates,
    step_lstm,
    step_lstm_back,
    step_of,
    take,
    take_gates,
    take_row,
    with_end,
)

BLOCK = 32  # units per block, and terms of a product per block


def run(
    z: Tensor, h: Tensor, c: Tensor, starts: Tensor, start: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """h after each step [T, B, d], and c after the last [B, d].

    Args:
        z: the input projected to the gates, in the order input, forget, output and candidate,
            [T, B, 4·d].
        h, c: before the first step, [B, d].
        starts: bool [T, B]; where true h is `start` [d], and c is 0, before the step.
        weight: hidden weights, [4·d, d].
    """
    parameters = start.unsqueeze(0), weight.unsqueeze(0)  # of one run
    last, outputs, *_ = _Span.apply(  # type: ignore[no-untyped-call]
        torch.is_grad_enabled(), 1, h, c, with_end(starts), z, *parameters
    )
    return outputs, last


class Sizes(NamedTuple):
    """Of a span: T, runs · B and d."""

    steps: int
    batch: int
    hidden: int


class Forward(NamedTuple):
    """What the forward kernel reads and fills in.

    Given: starts bool [T + 1, B], the input projected to the gates [T, B, 4·d], and the parameters
    [runs, ...]. Made: h after each step [T, B, d]; h before each step and after the last, after
    resets [T + 1, B, d], and c likewise, but before resets (both given for the first step); and the
    gates' activations [T, B, 4·d].
    """

    starts: Any
    z: Any
    start: Any
    weight: Any
    outputs: Any
    before: Any
    cells: Any
    gates: Any


class Backward(NamedTuple):
    """Likewise for backward: gradients of h after each step [T, B, d], of the gates, and of h and c
    before each step, after resets, and after the last [T + 1, B, d].
    """

    starts: Any
    weight: Any
    cells: Any
    gates: Any
    d_outputs: Any
    d_z: Any
    d_states: Any
    d_cells: Any


class _Span(Span):
    """`how` is whether a backward pass may follow. h and c are [B, d]; what is given and made is as
    in `Forward`.
    """

    given_along = 0, 0, 1, 1, 0, 0
    made_along = 0, 1, 1, 1, 1

    @staticmethod
    def forward(taped: bool, runs: int, h: Tensor, c: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        starts, z, start, _ = given = contiguous(*given)
        s = Sizes._make((*z.shape[:2], h.shape[1]))
        outputs, before, cells = (
            h.new_empty(steps, s.batch, s.hidden) for steps in (s.steps, s.steps + 1, s.steps + 1)
        )
        before[0], cells[0] = first_state(starts, start, h), c
        gates = h.new_empty(s.steps if taped else 0, s.batch, 4 * s.hidden)
        x = Forward._make((*given, outputs, before, cells, gates))
        launch(forward, s.batch, runs, x, s, taped=taped, block=BLOCK)
        return cells[-1].clone(), *x[len(given) :]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_last: Tensor | None, d_outputs: Tensor | None, *_: None
    ) -> tuple[Any, ...]:
        x = Forward(*ctx.saved_tensors)
        d_z, d_states, d_cells = map(torch.empty_like, (x.gates, x.before, x.cells))
        d_states[-1], d_cells[-1] = 0, arrived(d_last, x.cells[-1])
        given = contiguous(x.starts, x.weight, x.cells, x.gates, arrived(d_outputs, x.outputs))
        s, y = Sizes(*x.outputs.shape), Backward._make((*given, d_z, d_states, d_cells))
        launch(backward, s.batch, ctx.runs, y, s, block=BLOCK)
        d_h, d_c = (torch.where(x.starts[0, :, None], 0.0, each[0]) for each in (d_states, d_cells))
        own = apart(ctx.runs, x.starts[:-1], d_states[:-1], d_z, x.before[:-1])
        begins, d_before, d_gates, before = own  # [T, runs, B, ...]
        d_start = torch.where(begins.unsqueeze(3), d_before, 0.0).sum((0, 2))
        d_weight = einsum("tkbr,tkbd->krd", d_gates, before)
        return None, None, d_h, d_c, None, d_z, d_start, d_weight


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
    run, own, end = own_of(s.batch, tile)
    d, start = s.hidden, x.start + run * s.hidden
    weight = x.weight + run * 4 * d * d
    for t in range(s.steps):
        begins, ends, now, after = step_of(x.starts, t, s.batch, own, end, d)
        for first in range(0, d, block):
            units = first + tl.arange(0, block)
            gates = take_gates(x.z + 4 * now, 4 * d, own, end, units, d)
            for k in range(0, d, block):
                inner = k + tl.arange(0, block)
                h = take(x.before + now, d, own, end, inner, d)
                gates = add_gates(h, weight, units, d, inner, d, gates, precision)
            c = take(x.cells + now, d, own, end, units, d)
            gates, h, c = step_lstm(gates, choose_each(begins, 0.0, c))
            put(x.outputs + now, d, own, end, units, d, h)
            put(x.cells + after, d, own, end, units, d, c)
            h = choose_each(ends, take_row(start, units, d), h)
            put(x.before + after, d, own, end, units, d, h)
            if taped:
                put_gates(x.gates + 4 * now, 4 * d, own, end, units, d, gates)
        tl.debug_barrier()


@triton.jit
def backward(
    x: tl.tuple, s: tl.tuple, block: constexpr, tile: constexpr, precision: constexpr
) -> None:
    """One tile, of a `Backward` and `Sizes`."""
    run, own, end = own_of(s.batch, tile)
    d, weight = s.hidden, x.weight + run * 4 * s.hidden * s.hidden
    for back in range(s.steps):
        t = s.steps - 1 - back
        begins, ends, now, after = step_of(x.starts, t, s.batch, own, end, d)
        for first in range(0, d, block):
            units = first + tl.arange(0, block)
            dh = choose_each(ends, 0.0, take(x.d_states + after, d, own, end, units, d))
            dh += take(x.d_outputs + now, d, own, end, units, d)
            dc = choose_each(ends, 0.0, take(x.d_cells + after, d, own, end, units, d))
            before = choose_each(begins, 0.0, take(x.cells + now, d, own, end, units, d))
            c = take(x.cells + after, d, own, end, units, d)
            gates = take_gates(x.gates + 4 * now, 4 * d, own, end, units, d)
            d_gates, dc = step_lstm_back(gates, before, c, dh, dc)
            put_gates(x.d_z + 4 * now, 4 * d, own, end, units, d, d_gates)
            put(x.d_cells + now, d, own, end, units, d, dc)
        tl.debug_barrier()
        for first in range(0, d, block):
            inner = first + tl.arange(0, block)
            dh = tl.zeros([tile, block], x.d_z.dtype.element_ty)
            for k in range(0, 4 * d, block):
                rows = k + tl.arange(0, block)
                dz = take(x.d_z + 4 * now, 4 * d, own, end, rows, 4 * d)
                dh = multiply_back(dz, weight, rows, 4 * d, inner, d, dh, precision)
            put(x.d_states + now, d, own, end, inner, d, dh)
        tl.debug_barrier()
