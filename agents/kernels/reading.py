"""An LSTM over a few missions, one by one, with sixteen of its units in lanes.

A batch has one mission, or a few: too few to fill lanes with. Gates are in torch's order: input,
forget, candidate and output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compiling import inlined, kernel, share, type_of
from .lanes import WIDTH, like, load, numbers, rows
from .lstm import step_lstm, step_lstm_back
from .rows import combine, copy
from .tiles import scratch

FEW = 8  # torch's own reads more missions at once, and is as fast


def reads(missions: int, units: int) -> bool:
    """Whether missions are few enough, and units fill whole lanes."""
    return missions <= FEW and units % WIDTH == 0


def read(
    mission: Tensor,
    table: Tensor,
    input_weight: Tensor,
    hidden_weight: Tensor,
    input_bias: Tensor,
    hidden_bias: Tensor,
) -> Tensor:
    """Missions int16 [M, L], in which 0 is padding, to the last h of each [M, d].

    Args:
        mission: words first, zeros after them.
        table: the words' vectors, [V, E]; the first, of padding, is 0.
        input_weight, hidden_weight, input_bias, hidden_bias: as torch's, [4·d, E], [4·d, d], [4·d]
            and [4·d], where d is a multiple of sixteen.
    """
    given = mission, table, input_weight, hidden_weight, input_bias, hidden_bias
    read: Tensor = _Reading.apply(*given)  # type: ignore[no-untyped-call]
    return read


class Forward(NamedTuple):
    """What the forward kernel reads and fills in: input and hidden weights, transposed and stacked
    [E + d, 4·d], the sum of biases [4·d], h before each word and after the last [L + 1, M, d], the
    tape [L, M, 6·d] (gates, tanh c, and c before), c and the last h [M, d].
    """

    turned: Any
    bias: Any
    h: Any
    tape: Any
    c: Any
    last: Any


class Backward(NamedTuple):
    """Likewise for backward: gradients of the last h and c [M, d], and of the gates [L, M, 4·d]."""

    weight: Any
    tape: Any
    dh: Any
    dc: Any
    d_z: Any


class _Reading(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mission: Tensor, table: Tensor, *weights: Tensor) -> Tensor:
        input_weight, hidden_weight, *biases = weights
        (count, words), d = mission.shape, hidden_weight.shape[1]
        turned = torch.cat([input_weight.T, hidden_weight.T])
        h, tape = table.new_zeros(words + 1, count, d), scratch(table, words, count, 6 * d)
        c, last = table.new_zeros(count, d), table.new_empty(count, d)
        memory = Forward(turned, torch.add(*biases), h, tape, c, last)
        launch(forward, count, mission, (d // WIDTH, table.shape[1]), memory, (h, table.detach()))
        ctx.tape = tape
        ctx.save_for_backward(mission, table, h, input_weight, hidden_weight)
        return last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arrived: Tensor) -> tuple[Tensor | None, ...]:
        mission, table, h, input_weight, hidden_weight = ctx.saved_tensors
        d_z = h.new_zeros(len(h) - 1, len(mission), len(hidden_weight))
        dh = arrived.clone(memory_format=torch.contiguous_format)
        memory = Backward(hidden_weight, ctx.tape, dh, torch.zeros_like(dh), d_z)
        sizes = dh.shape[1] // WIDTH, table.shape[1]
        launch(backward, len(mission), mission, sizes, memory, (d_z, table))
        back, words = d_z.flatten(0, 1), mission.T.flatten().int()
        d_table = torch.zeros_like(table).index_add_(0, words, back @ input_weight)
        d_table[0] = 0  # padding, which a mission without words is read as
        d_input = back.T @ table.index_select(0, words)
        d_bias = back.sum(0)
        return None, d_table, d_input, back.T @ h[:-1].flatten(0, 1), d_bias, d_bias


def launch(
    run: Callable[..., None],
    count: int,
    mission: Tensor,
    sizes: tuple[int, int],
    rows: tuple[Tensor, ...],
    numbers: tuple[Tensor, ...],
) -> None:
    """Run a kernel over missions; it takes tensors as `rows` of sixteen or number by number."""
    places = (tuple(x.data_ptr() for x in each) for each in (rows, numbers))
    share(run, count, mission.numpy(), sizes, *places, type_of(rows[0].dtype))


@kernel
def forward(
    start: int, end: int, mission: np.ndarray, sizes: Any, places: Any, others: Any, kind: Any
) -> None:
    """Missions `start` to `end`."""
    x, (d, features), count = Forward(*rows(places, kind)), sizes, len(mission)
    every_h, table = numbers(others, kind)
    for own in range(start, end):
        c = x.c + own * d
        everyone, read = like(load(c, 0), 1.0), length_of(mission[own])
        for t in range(read):
            place = t * count + own
            gates, before, h = x.tape + place * 6 * d, place * d, x.h + (place + count) * d
            copy(x.bias, 4 * d, gates)
            copy(c, d, gates + 5 * d)
            combine(table + mission[own, t] * features, features, x.turned, 4 * d, gates)
            of_h = x.turned + features * 4 * d
            combine(every_h + before * WIDTH, d * WIDTH, of_h, 4 * d, gates)
            for row in range(d):
                at, squashed = (d, 3 * d, 2 * d), gates + (4 * d + row)
                step_lstm(gates + row, at, squashed, everyone, h + row, c + row)
        copy(x.h + (read * count + own) * d, d, x.last + own * d)


@kernel
def backward(
    start: int, end: int, mission: np.ndarray, sizes: Any, places: Any, others: Any, kind: Any
) -> None:
    """Missions `start` to `end`."""
    x, (d, _), count = Backward(*rows(places, kind)), sizes, len(mission)
    every_d_z, _ = numbers(others, kind)
    for own in range(start, end):
        dh, dc = x.dh + own * d, x.dc + own * d
        everyone = like(load(dh, 0), 1.0)
        for t in range(length_of(mission[own]) - 1, -1, -1):
            place = t * count + own
            gates, d_gates = x.tape + place * 6 * d, x.d_z + place * 4 * d
            for row in range(d):
                at, squashed = (d, 3 * d, 2 * d), gates + (4 * d + row)
                before, back = load(gates, 5 * d + row), d_gates + row
                step_lstm_back(
                    gates + row, at, squashed, everyone, before, dh + row, dc + row, back
                )
            combine(every_d_z + place * 4 * d * WIDTH, 4 * d * WIDTH, x.weight, d, dh)


@inlined
def length_of(words: np.ndarray) -> int:
    """How many words to read: at least one."""
    count = 0
    for k in range(len(words)):
        count += words[k] != 0
    return max(count, 1)
