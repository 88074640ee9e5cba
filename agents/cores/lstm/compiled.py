"""The compiled LSTM: a span, forward and backward, as two kernels over tiles of environments.

Outside the kernels a span is [T·B', ...], with B' environments per step, whole tiles of sixteen.
Inside, a tile goes through its steps as rows of sixteen numbers, one for each of its environments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from metarims.protocols import State

from ...frames import Frames
from ...kernels.compiling import kernel, launch
from ...kernels.lanes import WIDTH, like, load, numbers, rows
from ...kernels.lstm import in_order, reset, reset_back, step_lstm, step_lstm_back
from ...kernels.rows import add, clear, copy, gather, multiply, multiply_back, repeat, scatter
from ...kernels.tiles import fill, scratch

if TYPE_CHECKING:
    from .cell import LSTM


def run(
    cell: LSTM, frames: Frames, state: State, starts: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `agents.cores.lstm.cell.run_by_definition`."""
    (steps, batch), x = starts.shape, frames.different
    weight: Tensor = cell.input.weight
    bias: Tensor = cell.input.bias
    if not frames.each:  # project the distinct frames, which are fewer, beforehand
        x, weight, bias = linear(x, weight, bias), weight[:0], bias[:0]
    given: tuple[Tensor, ...] = (
        fill(starts.unsqueeze(2).to(x.dtype)),
        frames.rows(x),
        weight,
        bias,
        *(fill(each.unsqueeze(0))[0] for each in state),
        cell.start,
        cell.hidden_weight,
    )
    if torch.is_grad_enabled():
        outputs, last = _Span.apply(steps, *given)  # type: ignore[no-untyped-call]
    else:
        (outputs, last), _ = _go_forward(steps, 0, *given)
    outputs = outputs.unflatten(0, (steps, -1))[:, :batch]
    return outputs, (outputs[-1], last[:batch])


class Sizes(NamedTuple):
    """Of a span: T steps of tiles of sixteen environments, D, or 0 if the input comes projected to
    the gates, and d; taped is 0 or 1.
    """

    steps: int
    tiles: int
    inputs: int
    hidden: int
    taped: int


class Forward(NamedTuple):
    """What the forward kernel reads and fills in besides rows: the initial h [d], hidden weights
    [4·d, d], input weights [4·d, D] and bias [4·d], the input [T·B', D] or its projection to the
    gates [T·B', 4·d], h and c before the span [B', d]; the factors of the weights, which are input
    and h before each step [T·B', D + d], h after each step [T·B', d], c after the last [B', d].
    """

    first: Any
    weight: Any
    input: Any
    bias: Any
    x: Any
    h: Any
    c: Any
    seen: Any
    outputs: Any
    last: Any


class Backward(NamedTuple):
    """Likewise for backward: gradients of h after each step and of the last c; filled in, those of
    the gates [T·B', 4·d], of the input, and of h and c before the span [B', d].
    """

    weight: Any
    input: Any
    d_outputs: Any
    d_last: Any
    d_z: Any
    d_x: Any
    d_h: Any
    d_c: Any


class Rows(NamedTuple):
    """Rows of both: starts [T, tiles], the tape [tiles, T, 6·d] (gates, tanh c, and c before), and
    working memory, forward [tiles, 2·d + D] and backward [tiles, 8·d + D], whose first d rows
    become the gradient of the initial h.
    """

    starts: Any
    tape: Any
    work: Any


def _go_forward(
    steps: int,
    taped: int,
    starts: Tensor,
    x: Tensor,
    matrix: Tensor,
    bias: Tensor,
    h: Tensor,
    c: Tensor,
    start: Tensor,
    weight: Tensor,
) -> tuple[tuple[Tensor, Tensor], tuple[Sizes, Tensor, Tensor]]:
    """What `_Span` returns; and sizes, the factors of the weights, and the tape."""
    (batch, d), inputs = h.shape, matrix.shape[1] if len(matrix) else 0
    s = Sizes(steps, batch // WIDTH, inputs, d, taped)
    seen = scratch(x, len(x) * s.taped, inputs + d)
    tape = scratch(x, s.tiles, steps if s.taped else 1, 6 * d, WIDTH)
    outputs, last = x.new_empty(len(x), d), torch.empty_like(c)
    memory = Forward(start, weight, matrix, bias, x, h, c, seen, outputs, last)
    work = Rows(starts, tape, scratch(x, s.tiles, 2 * d + inputs, WIDTH))
    launch(forward, s.tiles, (tuple(s),), work, memory)
    return (outputs, last), (s, seen, tape)


class _Span(torch.autograd.Function):
    """forward: T, starts [T, B', 1], the input, its weights and bias (empty if the input comes
    projected to the gates), h and c [B', d], and the other parameters. Returns h after each step
    [T·B', d] and c after the last [B', d].
    """

    @staticmethod
    def forward(ctx: Any, steps: int, starts: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        taped = int(any(ctx.needs_input_grad))
        found, (ctx.sizes, ctx.seen, ctx.tape) = _go_forward(steps, taped, starts, *given)
        ctx.save_for_backward(starts, given[1], given[-1])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        s: Sizes = ctx.sizes
        starts, matrix, weight = ctx.saved_tensors
        d_outputs, d_last = d_outputs.contiguous(), d_last.contiguous()
        d_z = d_outputs.new_empty(len(d_outputs), 4 * s.hidden)
        d_x = d_z.new_empty(len(d_z), s.inputs) if s.inputs else d_z
        d_h, d_c = torch.empty_like(d_last), torch.empty_like(d_last)
        memory = Backward(weight, matrix, d_outputs, d_last, d_z, d_x, d_h, d_c)
        work = scratch(d_h, s.tiles, 8 * s.hidden + s.inputs, WIDTH)
        launch(backward, s.tiles, (tuple(s),), Rows(starts, ctx.tape, work), memory)
        d_first = work[:, : s.hidden].sum((0, 2))
        needed, both = ctx.needs_input_grad, (None, None)
        if needed[3] or needed[8]:
            both = (d_z.T @ ctx.seen).split([s.inputs, s.hidden], 1)
        of_input = (both[0], d_z.sum(0)) if s.inputs else (None, None)
        return None, None, d_x, *of_input, d_h, d_c, d_first, both[1]


@kernel
def forward(start: int, end: int, told: Any, places: Any, others: Any, kind: Any) -> None:
    """Tiles `start` to `end`."""
    s, r, x = Sizes(*told[0]), Rows(*rows(places, kind)), Forward(*numbers(others, kind))
    d = s.hidden
    for tile in range(start, end):
        h, own = r.work + tile * (2 * d + s.inputs), tile * WIDTH * d
        c, given = h + d, h + 2 * d
        gather(x.h + own, d, d, h)
        gather(x.c + own, d, d, c)
        for t in range(s.steps):
            frame = t * s.tiles + tile
            gates, here = r.tape + (tile * s.steps + t if s.taped else start) * 6 * d, frame * WIDTH
            reset(d, load(r.starts, frame), x.first, h, c)
            seen, width = x.seen + here * (s.inputs + d), s.inputs + d
            if s.taped:
                scatter(h, d, seen + s.inputs, width)
                copy(c, d, gates + 5 * d)
            if s.inputs:
                gather(x.x + here * s.inputs, s.inputs, s.inputs, given)
                repeat(x.bias, 4 * d, gates)
                multiply(x.input, 4 * d, s.inputs, given, gates)
                if s.taped:
                    scatter(given, s.inputs, seen, width)
            else:
                gather(x.x + here * 4 * d, 4 * d, 4 * d, gates)
            multiply(x.weight, 4 * d, d, h, gates)
            for row in range(d):
                everyone = like(load(h, row), 1.0)
                squashed = gates + (4 * d + row)
                step_lstm(gates + row, in_order(d), squashed, everyone, h + row, c + row)
            scatter(h, d, x.outputs + here * d, d)
        scatter(c, d, x.last + own, d)


@kernel
def backward(start: int, end: int, told: Any, places: Any, others: Any, kind: Any) -> None:
    """Tiles `start` to `end`."""
    s, r, x = Sizes(*told[0]), Rows(*rows(places, kind)), Backward(*numbers(others, kind))
    d = s.hidden
    for tile in range(start, end):
        first, own = r.work + tile * (8 * d + s.inputs), tile * WIDTH * d
        h, c, arrived, d_gates = first + d, first + 2 * d, first + 3 * d, first + 4 * d
        given = first + 8 * d
        clear(first, 2 * d)
        gather(x.d_last + own, d, d, c)
        for t in range(s.steps - 1, -1, -1):
            frame, gates = t * s.tiles + tile, r.tape + (tile * s.steps + t) * 6 * d
            gather(x.d_outputs + frame * WIDTH * d, d, d, arrived)
            add(arrived, d, h)
            for row in range(d):
                before, squashed = load(gates, 5 * d + row), gates + (4 * d + row)
                everyone = like(before, 1.0)
                own_gates, at = gates + row, in_order(d)
                step_lstm_back(
                    own_gates, at, squashed, everyone, before, h + row, c + row, d_gates + row
                )
            scatter(d_gates, 4 * d, x.d_z + frame * WIDTH * 4 * d, 4 * d)
            if s.inputs:
                clear(given, s.inputs)
                multiply_back(x.input, 4 * d, s.inputs, d_gates, given)
                scatter(given, s.inputs, x.d_x + frame * WIDTH * s.inputs, s.inputs)
            multiply_back(x.weight, 4 * d, d, d_gates, h)
            reset_back(d, load(r.starts, frame), first, h, c)
        scatter(h, d, x.d_h + own, d)
        scatter(c, d, x.d_c + own, d)
