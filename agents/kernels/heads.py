"""The two heads of a policy, forward and backward, as two kernels over tiles of environments.

A head is a linear layer, the hyperbolic tangent, and another linear layer. Sixteen environments go
through both heads together, each in one lane.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compiling import inlined, kernel, launch, part
from .lanes import WIDTH, load, numbers, rows, store, tanh
from .products import EVERYWHERE, add_products, whole_columns, whole_rows
from .rows import add, clear, gather, multiply, multiply_back, repeat, scatter
from .tiles import fill, scratch, total


def run(x: Tensor, policy: Head, value: Head) -> tuple[Tensor, Tensor]:
    """Features [T, B, F] to logits [T, B, A] and values [T, B, 1]."""
    given = fill(x), *policy, *value
    if torch.is_grad_enabled():
        found = _Heads.apply(*given)  # type: ignore[no-untyped-call]
    else:
        found, _ = _go_forward(0, *given)
    logits, values = (each[:, : x.shape[1]] for each in found)
    return logits, values


class Head(NamedTuple):
    """A head's parameters, or their gradients: matrix [H, F] and bias, matrix [A, H] and bias."""

    first: Any
    bias: Any
    last: Any
    last_bias: Any


class Sizes(NamedTuple):
    """T steps of tiles of sixteen environments, F, H and A, and flags, 0 or 1: whether the tape is
    kept for the backward pass, which heads receive gradients, and whose parameters need them.
    """

    steps: int
    tiles: int
    features: int
    hidden: int
    actions: int
    taped: int
    policy: int = 0
    value: int = 0
    policy_learns: int = 0
    value_learns: int = 0


class Forward(NamedTuple):
    """What the forward kernel reads and fills in: x [T, B', F], logits [T, B', A] and values."""

    x: Any
    logits: Any
    values: Any


class Backward(NamedTuple):
    """Likewise for backward: x and the gradients."""

    x: Any
    d_logits: Any
    d_values: Any
    d_x: Any


class Work(NamedTuple):
    """The row where each thing begins in a tile's working memory, in both passes."""

    x: int
    out: int
    hidden: int
    d_x: int
    turned: int
    end: int


@cache
def work_of(s: Sizes) -> Work:
    """The rows for these sizes."""
    turned = whole_columns(max(s.features, s.hidden))
    counts = s.features, s.actions, s.hidden, s.features, turned
    return Work(*accumulate(counts, initial=0))


class Learnt(NamedTuple):
    """The row where each gradient begins among a head's, which are summed over a tile's frames:
    matrices in the layout of `add_products`, and biases in lanes.
    """

    first: int
    bias: int
    last: int
    last_bias: int
    end: int


@cache
def learnt_of(s: Sizes) -> Learnt:
    """The rows for these sizes; the value's head gets as much room as the policy's."""
    of_first, of_last = (
        whole_rows(height) * whole_columns(width) // WIDTH
        for height, width in ((s.hidden, s.features), (s.actions, s.hidden))
    )
    return Learnt(*accumulate((of_first, s.hidden, of_last, s.actions), initial=0))


def _go_forward(
    taped: int, x: Tensor, *parameters: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Sizes, Tensor]]:
    """What `_Heads` returns; and sizes, and the tape."""
    (steps, batch, features), (actions, hidden) = x.shape, parameters[2].shape
    s = Sizes(steps, batch // WIDTH, features, hidden, actions, taped)
    work = work_of(s)
    tape = scratch(x, s.tiles, steps if taped else 1, 2 * hidden, WIDTH)
    memory = tape, scratch(x, s.tiles, work.end, WIDTH)
    found = x.new_empty(steps, batch, actions), x.new_empty(steps, batch, 1)
    told = tuple(s), tuple(work)
    launch(forward, s.tiles, told, memory, (*parameters, *Forward(x, *found)))
    return found, (s, tape)


class _Heads(torch.autograd.Function):
    """forward: x [T, B', F] and both heads' parameters. A head that receives no gradient costs
    nothing in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        found, (ctx.sizes, ctx.tape) = _go_forward(1, x, *parameters)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *parameters)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *arrived: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        needed = any(ctx.needs_input_grad[1:5]), any(ctx.needs_input_grad[5:])
        came = [each is not None for each in arrived]
        learns = [here and wanted for here, wanted in zip(came, needed, strict=True)]
        d_logits, d_values = (x if each is None else each.contiguous() for each in arrived)
        s = Sizes(*ctx.sizes[:6], *map(int, (*came, *learns)))
        work, learnt, d_x = work_of(s), learnt_of(s), torch.empty_like(x)
        sums = scratch(x, s.tiles, 2, learnt.end, WIDTH)
        memory = ctx.tape, scratch(x, s.tiles, work.end, WIDTH), sums
        told, others = (tuple(s), tuple(work), tuple(learnt)), Backward(x, d_logits, d_values, d_x)
        launch(backward, s.tiles, told, memory, (*parameters, *others))
        policy, value = (
            _gradients(s, learnt, own, outputs) if wanted else Head(*NONE)
            for wanted, own, outputs in zip(learns, total(sums), (s.actions, 1), strict=True)
        )
        return d_x, *policy, *value


NONE = 4 * (None,)  # of a head that does not learn


def _gradients(s: Sizes, learnt: Learnt, sums: Tensor, outputs: int) -> Head:
    """Those of a head's parameters from its sums [rows, 16]."""

    def matrix(place: int, height: int, width: int) -> Tensor:
        filled = whole_columns(width)
        found = sums[place : place + whole_rows(height) * filled // WIDTH]
        return found.view(-1, filled)[:height, :width]

    of_bias, of_last_bias = sums[learnt.bias : learnt.last], sums[learnt.last_bias :][:outputs]
    return Head(
        matrix(learnt.first, s.hidden, s.features),
        of_bias.sum(1),
        matrix(learnt.last, outputs, s.hidden),
        of_last_bias.sum(1),
    )


@kernel
def forward(start: int, end: int, told: Any, places: Any, others: Any, kind: Any) -> None:
    """Tiles `start` to `end`."""
    s, at, pointers = Sizes(*told[0]), Work(*told[1]), numbers(others, kind)
    x, outputs = Forward(*pointers[8:]), (s.actions, 1)
    tapes, memory = rows(places, kind)
    for tile in range(start, end):
        work = memory + tile * at.end
        seen, out = work + at.x, work + at.out
        for t in range(s.steps):
            here = (t * s.tiles + tile) * WIDTH
            tape = tapes + (tile * s.steps + t if s.taped else start) * 2 * s.hidden
            gather(x.x + here * s.features, s.features, s.features, seen)
            for head in range(2):
                count, given = outputs[head], (x.logits, x.values)[head]
                parameters, hidden = head_of(pointers, head), tape + head * s.hidden
                give(s, parameters, count, seen, hidden, out, given + here * count)


@inlined
def head_of(pointers: Any, head: int) -> Head:
    """The parameters of the policy's head, 0, or the value's, 1."""
    first = 4 * head
    return Head(pointers[first], pointers[first + 1], pointers[first + 2], pointers[first + 3])


@part
def give(s: Any, head: Any, count: int, x: Any, hidden: Any, out: Any, given: Any) -> None:
    """A head's outputs [A] for x, and its hidden units."""
    repeat(head.bias, s.hidden, hidden)
    multiply(head.first, s.hidden, s.features, x, hidden)
    for row in range(s.hidden):
        store(hidden, row, tanh(load(hidden, row)))
    repeat(head.last_bias, count, out)
    multiply(head.last, count, s.hidden, hidden, out)
    scatter(out, count, given, count)


@kernel
def backward(start: int, end: int, told: Any, places: Any, others: Any, kind: Any) -> None:
    """Tiles `start` to `end`."""
    s, at, learnt = Sizes(*told[0]), Work(*told[1]), Learnt(*told[2])
    pointers = numbers(others, kind)
    x, outputs = Backward(*pointers[8:]), (s.actions, 1)
    came, learns = (s.policy, s.value), (s.policy_learns, s.value_learns)
    tapes, memory, all_sums = rows(places, kind)
    for tile in range(start, end):
        work, sums = memory + tile * at.end, all_sums + tile * 2 * learnt.end
        d_x = work + at.d_x
        clear(sums, 2 * learnt.end)
        for t in range(s.steps):
            here = (t * s.tiles + tile) * WIDTH
            tape = tapes + (tile * s.steps + t) * 2 * s.hidden
            gather(x.x + here * s.features, s.features, s.features, work + at.x)
            clear(d_x, s.features)
            for head in range(2):
                if came[head]:
                    count, d_given = outputs[head], (x.d_logits, x.d_values)[head]
                    parameters, hidden = head_of(pointers, head), tape + head * s.hidden
                    given, own = d_given + here * count, sums + head * learnt.end
                    take(s, at, learnt, parameters, count, learns[head], given, work, hidden, own)
            scatter(d_x, s.features, x.d_x + here * s.features, s.features)


@part
def take(
    s: Any,
    at: Any,
    learnt: Any,
    head: Any,
    count: int,
    learns: int,
    d_given: Any,
    work: Any,
    hidden: Any,
    sums: Any,
) -> None:
    """Add to the gradients of x and of a head's parameters from those of its outputs [A]."""
    d_out, d_own, turned = work + at.out, work + at.hidden, work + at.turned
    gather(d_given, count, count, d_out)
    clear(d_own, s.hidden)
    multiply_back(head.last, count, s.hidden, d_out, d_own)
    for row in range(s.hidden):
        own = load(hidden, row)
        store(d_own, row, load(d_own, row) * (1.0 - own * own))
    multiply_back(head.first, s.hidden, s.features, d_own, work + at.d_x)
    if learns:
        add_products(d_own, s.hidden, work + at.x, s.features, EVERYWHERE, turned, sums)
        add(d_own, s.hidden, sums + learnt.bias)
        add_products(d_out, count, hidden, s.hidden, EVERYWHERE, turned, sums + learnt.last)
        add(d_out, count, sums + learnt.last_bias)
