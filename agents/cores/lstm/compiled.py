"""The LSTM compiled: a span, forward and backward, as two kernels over tiles of environments.

Memory is rows of sixteen numbers, one for each environment of a tile. Of a span of T steps there
are F = T · tiles frames of them: [rows, F], a step's tiles side by side, is what [rows, T·B] is to
others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarims.protocols import State

from ...frames import Frames
from ...kernels.compiling import kernel, launch
from ...kernels.lanes import (
    WIDTH,
    like,
    load,
    numbers,
    rows,
)
from ...kernels.lstm import in_order, reset, reset_back, step_lstm, step_lstm_back
from ...kernels.rows import add, clear, gather, multiply, multiply_back, scatter
from ...kernels.tiles import flags_of, frames_first, scratch, state_of

if TYPE_CHECKING:
    from .cell import LSTM


def run(
    cell: LSTM, frames: Frames, state: State, starts: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `agents.cores.lstm.cell.run_by_definition`."""
    (steps, batch), x = starts.shape, frames.different
    h, c = map(state_of, state)
    bias, weight = cell.input.bias.unsqueeze(1), cell.input.weight
    z = frames.columns(torch.addmm(bias, weight, x.T))  # [4·d, T·B]
    given = flags_of(starts, x.dtype), z, h, c, cell.start, cell.hidden_weight
    if torch.is_grad_enabled():
        outputs, last = _Span.apply(steps, *given)  # type: ignore[no-untyped-call]
    else:
        (outputs, last), _ = _go_forward(steps, 0, *given)
    outputs = frames_first(outputs, steps, batch)
    return outputs, (outputs[-1], frames_first(last, 1, batch)[0])


class Sizes(NamedTuple):
    """Of a span: T steps of tiles of sixteen environments, F frames, d; taped is 0 or 1."""

    steps: int
    tiles: int
    frames: int
    hidden: int
    taped: int


class Forward(NamedTuple):
    """What the kernel forward reads and fills in: starts [1, F], what of the gates comes from the
    input [4·d, F], h and c [d, tiles], h before each step [d, F], the tape [tiles, T, 6·d] (gates,
    tanh c, and c before), memory to work with [tiles, 2·d], h after each step [d, F], the last c.
    """

    starts: Any
    z: Any
    h: Any
    c: Any
    before: Any
    tape: Any
    work: Any
    outputs: Any
    last: Any


class Backward(NamedTuple):
    """Likewise backward: gradients of h after each step and of the last c, and what is filled in:
    those of the gates [4·d, F], h, c, and the first state [d, tiles].
    """

    starts: Any
    tape: Any
    work: Any
    d_outputs: Any
    d_last: Any
    d_z: Any
    d_h: Any
    d_c: Any
    d_first: Any


def _go_forward(
    steps: int,
    taped: int,
    starts: Tensor,
    z: Tensor,
    h: Tensor,
    c: Tensor,
    start: Tensor,
    weight: Tensor,
) -> tuple[tuple[Tensor, Tensor], tuple[Sizes, Tensor, Tensor]]:
    """What `_Span` returns; and sizes, h before each step and the tape."""
    d, frames, tiles = h.shape[0], z.shape[1], h.shape[1] // WIDTH
    s = Sizes(steps, tiles, frames // WIDTH, d, taped)
    before = scratch(z, d * taped, frames)
    tape = scratch(z, tiles, steps if taped else 1, 6 * d, WIDTH)
    work = scratch(z, tiles, 2 * d, WIDTH)
    outputs, last = z.new_empty(d, frames), torch.empty_like(c)
    memory = Forward(starts, z, h, c, before, tape, work, outputs, last)
    launch(forward, tiles, (tuple(s),), memory, (start, weight))
    return (outputs, last), (s, before, tape)


class _Span(torch.autograd.Function):
    """forward: T, starts [1, T·B], the gates' part from the input [4·d, T·B], h and c [d, B], and
    the parameters. Returns h after each step [d, T·B] and c after the last [d, B].
    """

    @staticmethod
    def forward(ctx: Any, steps: int, starts: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        taped = int(any(ctx.needs_input_grad))
        found, (ctx.sizes, ctx.before, ctx.tape) = _go_forward(steps, taped, starts, *given)
        ctx.save_for_backward(starts, *given[3:])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        s: Sizes = ctx.sizes
        starts, start, weight = ctx.saved_tensors
        d_last = d_last.contiguous()
        d_z = d_outputs.new_empty(4 * s.hidden, s.frames * WIDTH)
        d_h, d_c = torch.empty_like(d_last), torch.empty_like(d_last)
        d_first, work = torch.zeros_like(d_h), scratch(d_h, s.tiles, 6 * s.hidden, WIDTH)
        memory = Backward(
            starts, ctx.tape, work, d_outputs.contiguous(), d_last, d_z, d_h, d_c, d_first
        )
        launch(backward, s.tiles, (tuple(s),), memory, (start, weight))
        d_weight = d_z @ ctx.before.T if ctx.needs_input_grad[6] else None
        return None, None, d_z, d_h, d_c, d_first.sum(1), d_weight


@kernel
def forward(start: int, end: int, told: Any, places: Any, parameters: Any, kind: Any) -> None:
    """Tiles `start` to `end`."""
    s, x = Sizes(*told[0]), Forward(*rows(places, kind))
    first, weight = numbers(parameters, kind)
    d = s.hidden
    for tile in range(start, end):
        h = x.work + 2 * tile * d
        c = h + d
        gather(x.h + tile, s.tiles, d, h)
        gather(x.c + tile, s.tiles, d, c)
        for t in range(s.steps):
            frame = t * s.tiles + tile
            gates = x.tape + (tile * s.steps + t if s.taped else tile) * 6 * d
            reset(d, load(x.starts, frame), first, h, c)
            if s.taped:
                scatter(h, d, x.before + frame, s.frames)
                scatter(c, d, gates + 5 * d, 1)
            gather(x.z + frame, s.frames, 4 * d, gates)
            multiply(weight, 4 * d, d, h, gates)
            for row in range(d):
                everyone = like(load(h, row), 1.0)
                squashed = gates + (4 * d + row)
                step_lstm(gates + row, in_order(d), squashed, everyone, h + row, c + row)
            scatter(h, d, x.outputs + frame, s.frames)
        scatter(c, d, x.last + tile, s.tiles)


@kernel
def backward(start: int, end: int, told: Any, places: Any, parameters: Any, kind: Any) -> None:
    """Tiles `start` to `end`."""
    s, x = Sizes(*told[0]), Backward(*rows(places, kind))
    _, weight = numbers(parameters, kind)
    d = s.hidden
    for tile in range(start, end):
        h = x.work + 6 * tile * d
        c, d_gates = h + d, h + 2 * d
        clear(h, d)
        gather(x.d_last + tile, s.tiles, d, c)
        for t in range(s.steps - 1, -1, -1):
            frame, gates = t * s.tiles + tile, x.tape + (tile * s.steps + t) * 6 * d
            add(x.d_outputs + frame, s.frames, d, h)
            for row in range(d):
                before, squashed = load(gates, 5 * d + row), gates + (4 * d + row)
                everyone = like(before, 1.0)
                own, at = gates + row, in_order(d)
                step_lstm_back(own, at, squashed, everyone, before, h + row, c + row, d_gates + row)
            scatter(d_gates, 4 * d, x.d_z + frame, s.frames)
            multiply_back(weight, 4 * d, d, d_gates, h)
            reset_back(d, load(x.starts, frame), x.d_first + tile, s.tiles, h, c)
        scatter(h, d, x.d_h + tile, s.tiles)
        scatter(c, d, x.d_c + tile, s.tiles)
