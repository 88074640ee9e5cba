"""An LSTM over a few sequences of words, each for itself, sixteen of its units in lanes.

A batch has one mission, or a few: there is nothing else to fill lanes with. Gates are in torch's
order, input, forget, candidate and output.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numba import carray
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compiling import kernel, launch
from .lanes import WIDTH, like, load, numbers, rows
from .lstm import step_lstm, step_lstm_back
from .rows import combine, gather
from .tiles import scratch

FEW = 8  # of more sequences torch's own reads many at once, and is as fast


def reads(sequences: int, units: int) -> bool:
    """Whether it is for so many sequences, and so many units fill whole lanes."""
    return sequences <= FEW and units % WIDTH == 0


def read(z: Tensor, weight: Tensor, lengths: Tensor) -> Tensor:
    """The gates' part from the words [L, M, 4·d], their weights [4·d, d], where d is a multiple of
    sixteen, and how many words each sequence has, of any type [M], to the last h of each [M, d].
    """
    read: Tensor = _Reading.apply(z, weight, lengths)  # type: ignore[no-untyped-call]
    return read


class Forward(NamedTuple):
    """What the kernel forward reads and fills in: the gates' part from the words, their weights
    turned [d, 4·d], h before each word [L + 1, M, d], the tape [L, M, 6·d] (gates, tanh c, and c
    before), c and the last h [M, d].
    """

    z: Any
    turned: Any
    h: Any
    tape: Any
    c: Any
    last: Any


class Backward(NamedTuple):
    """Likewise backward: gradients of the last h and c [M, d] and of the gates [L, M, 4·d]."""

    weight: Any
    tape: Any
    dh: Any
    dc: Any
    d_z: Any


class _Reading(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor, lengths: Tensor) -> Tensor:
        (words, count, _), d = z.shape, weight.shape[1]
        h, tape = z.new_zeros(words + 1, count, d), scratch(z, words, count, 6 * d)
        c, last, lengths = z.new_zeros(count, d), z.new_empty(count, d), lengths.to(z.dtype)
        memory = Forward(z.contiguous(), weight.T.contiguous(), h, tape, c, last)
        launch(forward, count, ((count, d // WIDTH),), memory, (h, lengths))
        ctx.tape = tape
        ctx.save_for_backward(h, weight, lengths)
        return last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, arrived: Tensor) -> tuple[Tensor | None, ...]:
        h, weight, lengths = ctx.saved_tensors
        words, (count, d) = len(h) - 1, h.shape[1:]
        d_z = h.new_zeros(words, count, 4 * d)
        dh = arrived.clone(memory_format=torch.contiguous_format)
        memory = Backward(weight, ctx.tape, dh, torch.zeros_like(dh), d_z)
        launch(backward, count, ((count, d // WIDTH),), memory, (d_z, lengths))
        return d_z, d_z.flatten(0, 1).T @ h[:-1].flatten(0, 1), None


@kernel
def forward(start: int, end: int, told: Any, places: Any, parameters: Any, kind: Any) -> None:
    """Sequences `start` to `end`."""
    (count, d), x = told[0], Forward(*rows(places, kind))
    every_h, lengths = numbers(parameters, kind)
    for own in range(start, end):
        c = x.c + own * d
        everyone, read = like(load(c, 0), 1.0), int(carray(lengths, count)[own])
        for t in range(read):
            place = t * count + own
            gates, before, h = x.tape + place * 6 * d, place * d, x.h + (place + count) * d
            gather(x.z + place * 4 * d, 1, 4 * d, gates)
            gather(c, 1, d, gates + 5 * d)
            combine(every_h + before * WIDTH, d * WIDTH, x.turned, 4 * d, gates)
            for row in range(d):
                at, squashed = (d, 3 * d, 2 * d), gates + (4 * d + row)
                step_lstm(gates + row, at, squashed, everyone, h + row, c + row)
        gather(x.h + (read * count + own) * d, 1, d, x.last + own * d)


@kernel
def backward(start: int, end: int, told: Any, places: Any, parameters: Any, kind: Any) -> None:
    """Sequences `start` to `end`."""
    (count, d), x = told[0], Backward(*rows(places, kind))
    every_d_z, lengths = numbers(parameters, kind)
    for own in range(start, end):
        dh, dc = x.dh + own * d, x.dc + own * d
        everyone = like(load(dh, 0), 1.0)
        for t in range(int(carray(lengths, count)[own]) - 1, -1, -1):
            place = t * count + own
            gates, d_gates = x.tape + place * 6 * d, x.d_z + place * 4 * d
            for row in range(d):
                at, squashed = (d, 3 * d, 2 * d), gates + (4 * d + row)
                before, back = load(gates, 5 * d + row), d_gates + row
                step_lstm_back(
                    gates + row, at, squashed, everyone, before, dh + row, dc + row, back
                )
            combine(every_d_z + place * 4 * d * WIDTH, 4 * d * WIDTH, x.weight, d, dh)
