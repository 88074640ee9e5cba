"""Attention between modules, and back. Queries, keys and values are rows of lanes [n, 3, A·e]."""

from __future__ import annotations

from typing import Any

from ....kernels.compiling import part
from ....kernels.lanes import choose, fma, load, nothing, store
from ....kernels.rows import clear, multiply, multiply_back
from .attention import softmax, softmax_back


@part
def attend_to_all(s: Any, p: Any, j: int, tape: Any) -> None:
    """How much module j attends to each module."""
    e, width, projected = s.features, s.talkers * s.features, tape + p.projected
    scale = 1 / e**0.5
    for head in range(s.talkers):
        attended = tape + (p.attended + (j * s.talkers + head) * s.modules)
        query = projected + (3 * j * width + head * e)
        for i in range(s.modules):
            key, score = projected + ((3 * i + 1) * width + head * e), nothing(tape)
            for row in range(e):
                score = fma(load(query, row), load(key, row), score)
            store(attended, i, score * scale)
        softmax(attended, 1, s.modules, 0.0)


@part
def hear(s: Any, p: Any, j: int, tape: Any, message: Any) -> None:
    """Module j's message [A·e] from all modules."""
    e, width, projected = s.features, s.talkers * s.features, tape + p.projected
    for head in range(s.talkers):
        attended = tape + (p.attended + (j * s.talkers + head) * s.modules)
        value = projected + (2 * width + head * e)
        for row in range(e):
            total = nothing(tape)
            for i in range(s.modules):
                total = fma(load(attended, i), load(value, 3 * i * width + row), total)
            store(message, head * e + row, total)


@part
def communicate_back(
    s: Any, p: Any, j: int, d_message: Any, scores: Any, d_projected: Any, tape: Any
) -> None:
    """Add to gradients of queries, keys and values from that of module j's message."""
    e, width, projected = s.features, s.talkers * s.features, tape + p.projected
    scale = 1 / e**0.5
    for head in range(s.talkers):
        attended = tape + (p.attended + (j * s.talkers + head) * s.modules)
        for i in range(s.modules):
            value = (3 * i + 2) * width + head * e
            weight, score = load(attended, i), nothing(tape)
            for row in range(e):
                got = load(d_message, head * e + row)
                score = fma(got, load(projected, value + row), score)
                store(d_projected, value + row, fma(weight, got, load(d_projected, value + row)))
            store(scores, i, score)
        softmax_back(scores, attended, 1, s.modules)
        query = 3 * j * width + head * e
        for row in range(query, query + e):
            own, total = load(projected, row), nothing(tape)
            for i in range(s.modules):
                score, key = load(scores, i) * scale, (3 * (i - j) + 1) * width + row
                total = fma(score, load(projected, key), total)
                store(d_projected, key, fma(score, own, load(d_projected, key)))
            store(d_projected, row, total)


@part
def receive(
    s: Any, p: Any, j: int, matrix: Any, message: Any, change: Any, h: Any, tape: Any
) -> None:
    """Add a module's projected message [A·e] to its h, where it is active."""
    d, width, own = s.hidden, s.talkers * s.features, h + j * s.hidden
    clear(change, d)
    multiply(matrix + j * d * width, d, width, message, change)
    mask = load(tape, p.mask + j)
    for row in range(d):
        before = load(own, row)
        store(own, row, choose(mask, before + load(change, row), before))


@part
def receive_back(
    s: Any, p: Any, j: int, matrix: Any, dh: Any, d_change: Any, d_message: Any, tape: Any
) -> None:
    """Gradients of what a module adds to its h [n, d], and of its message [A·e]."""
    d, width, own = s.hidden, s.talkers * s.features, j * s.hidden
    mask, zero = load(tape, p.mask + j), nothing(tape)
    for row in range(own, own + d):
        store(d_change, row, choose(mask, load(dh, row), zero))
    clear(d_message, width)
    multiply_back(matrix + j * d * width, d, width, d_change + own, d_message)
