"""The backward kernel: gradients of tiles of environments back through a span."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language import constexpr, tensor

from ....kernels.fusing import (
    add_gates_back,
    choose_each,
    column,
    multiply_back,
    own_of,
    put,
    put_gates,
    step_lstm_back,
    step_of,
    take,
    take_gates,
    with_column,
)
from .attention import choose, rank, there, weigh_back
from .forward import put_all, rows_of_all, take_all
from .memory import Tile


@triton.jit
def backward(
    x: tl.tuple,
    s: tl.tuple,
    sparse: constexpr,
    ordered: constexpr,
    wide_n: constexpr,
    wide_d: constexpr,
    wide_m: constexpr,
    wide_e: constexpr,
    tile: constexpr,
    precision: constexpr,
) -> None:
    """One tile, of `Backward` and `Sizes`."""
    run, own, end = own_of(s.batch, tile)
    each, units = tl.arange(0, wide_n), tl.arange(0, wide_d)
    words, part = tl.arange(0, wide_m), tl.arange(0, wide_e)
    for back in range(s.steps):
        t = s.steps - 1 - back
        begins, ends, now, after = step_of(x.starts, t, s.batch, own, end, s.modules)
        v = Tile(own, end, run * s.modules, each, units, words, part, now, after, now, begins, ends)
        scores = take(x.scores + now, s.modules, own, end, each, s.modules)
        place = rank(x, s, v, scores, sparse, ordered)
        mask = choose(s, v, place)
        receive_back(x, s, v, mask, precision)
        tl.debug_barrier()
        for head in range(s.talkers):
            listen_back(x, s, v, head)
        tl.debug_barrier()
        d_weights = move_back(x, s, v, mask, precision)
        d_scores = weigh_back(s, v, scores, place, d_weights, sparse, ordered)
        put(x.d_scores + now, s.modules, own, end, each, s.modules, d_scores)
        tl.debug_barrier()
        ask_back(x, s, v, d_scores)
        tl.debug_barrier()


@triton.jit
def arrived(x: tl.tuple, s: tl.tuple, v: tl.tuple, j: tensor) -> tensor:
    """The gradient of module j's h after a step, [TILE, d]."""
    d, stride = s.hidden, s.modules * s.hidden
    later = take(x.d_states + (v.after + j) * d, stride, v.own, v.end, v.units, d)
    here = take(x.d_outputs + (v.now + j) * d, stride, v.own, v.end, v.units, d)
    return here + choose_each(v.ends, 0.0, later)


@triton.jit
def receive_back(x: tl.tuple, s: tl.tuple, v: tl.tuple, mask: tensor, precision: constexpr) -> None:
    """Fill in gradients of what was added to h, and of messages."""
    d, m = s.hidden, s.talkers * s.features
    for j in range(s.modules):
        change = choose_each(column(mask, v.each, j) > 0, arrived(x, s, v, j), 0.0)
        put(x.d_change + (v.now + j) * d, s.modules * d, v.own, v.end, v.units, d, change)
        out = tl.zeros([v.own.shape[0], v.words.shape[0]], change.dtype)
        matrix = x.listen + (v.first + j) * d * m
        out = multiply_back(change, matrix, v.units, d, v.words, m, out, precision)
        put(x.d_message + j * m, s.modules * m, v.own, v.end, v.words, m, out)


@triton.jit
def listen_back(x: tl.tuple, s: tl.tuple, v: tl.tuple, head: tensor) -> None:
    """Fill in gradients of one head's queries, keys and values."""
    e, m, stride = s.features, s.talkers * s.features, 3 * s.modules * s.talkers * s.features
    place, scale = v.now * 3 * m + head * e, 1 / tl.sqrt(tl.cast(s.features, tl.float32))
    query = take_all(x.projected + place, 3 * m, s, v) * scale
    d_message = take_all(x.d_message + head * e, m, s, v)
    message = take_all(x.messages + v.now * m + head * e, m, s, v)
    total = x.totals + (v.now + rows_of_all(s, v)) * s.talkers + head
    total = tl.load(total, (v.own < v.end)[:, None] & there(s, v), other=0.0)
    mean, d_query = tl.sum(d_message * message, 2), tl.zeros_like(query)
    for j in range(s.modules):
        own = place + (3 * j + 1) * m
        key = take(x.projected + own, stride, v.own, v.end, v.part, e)
        value = take(x.projected + own + m, stride, v.own, v.end, v.part, e)
        weight = tl.exp(tl.sum(query * key[:, None, :], 2) - total)
        d_score = weight * (tl.sum(d_message * value[:, None, :], 2) - mean)
        d_query += d_score[:, :, None] * key[:, None, :]
        d_key = tl.sum(d_score[:, :, None] * query, 1)
        d_value = tl.sum(weight[:, :, None] * d_message, 1)
        put(x.d_projected + own, stride, v.own, v.end, v.part, e, d_key)
        put(x.d_projected + own + m, stride, v.own, v.end, v.part, e, d_value)
    put_all(x.d_projected + place, 3 * m, s, v, d_query * scale)


@triton.jit
def move_back(x: tl.tuple, s: tl.tuple, v: tl.tuple, mask: tensor, precision: constexpr) -> tensor:
    """Fill in gradients of gates, c and, in part, h; return the weights', [TILE, n]."""
    d, stride, d_weights = s.hidden, s.modules * s.hidden, tl.zeros_like(mask)
    for j in range(s.modules):
        dh = talk_back(x, s, v, arrived(x, s, v, j), j, precision)
        dc = take(x.d_cells + (v.after + j) * d, stride, v.own, v.end, v.units, d)
        dc = choose_each(v.ends, 0.0, dc)
        gates = take_gates(x.gates + (v.now + j) * 4 * d, 4 * stride, v.own, v.end, v.units, d)
        before = take(x.cells + (v.now + j) * d, stride, v.own, v.end, v.units, d)
        before = choose_each(v.begins, 0.0, before)
        c = take(x.cells + (v.after + j) * d, stride, v.own, v.end, v.units, d)
        active = column(mask, v.each, j) > 0
        reached, through = choose_each(active, dh, 0.0), choose_each(active, dc, 0.0)
        d_gates, through = step_lstm_back(gates, before, c, reached, through)
        dc = choose_each(active, through, dc)
        put(x.d_cells + (v.now + j) * d, stride, v.own, v.end, v.units, d, dc)
        d_weights = with_column(d_weights, v.each, j, read_back(x, s, v, d_gates, j))
        matrix, dh = x.weight + (v.first + j) * 4 * d * d, choose_each(active, 0.0, dh)
        dh = add_gates_back(d_gates, matrix, v.units, d, v.units, d, dh, precision)
        put(x.d_partly + j * d, stride, v.own, v.end, v.units, d, dh)
    return d_weights


@triton.jit
def talk_back(
    x: tl.tuple, s: tl.tuple, v: tl.tuple, dh: tensor, j: tensor, precision: constexpr
) -> tensor:
    """The gradient of module j's h, plus that through its queries, keys and values."""
    d, m = s.hidden, s.talkers * s.features
    for kind in range(3):
        given = x.d_projected + ((v.now + j) * 3 + kind) * m
        given = take(given, 3 * s.modules * m, v.own, v.end, v.words, m)
        matrix = x.talk + (3 * (v.first + j) + kind) * m * d
        dh = multiply_back(given, matrix, v.words, m, v.units, d, dh, precision)
    return dh


@triton.jit
def read_back(x: tl.tuple, s: tl.tuple, v: tl.tuple, d_gates: tl.tuple, j: tensor) -> tensor:
    """Store the gates' gradients; return that of module j's weight, [TILE]."""
    d, stride, place = s.hidden, 4 * s.modules * s.hidden, (v.now + j) * 4 * s.hidden
    put_gates(x.d_gates + place, stride, v.own, v.end, v.units, d, d_gates)
    i, f, o, g = take_gates(x.gains + place, stride, v.own, v.end, v.units, d)
    of_each = i * d_gates[0] + f * d_gates[1] + o * d_gates[2] + g * d_gates[3]
    return tl.sum(of_each, 1)


@triton.jit
def ask_back(x: tl.tuple, s: tl.tuple, v: tl.tuple, d_scores: tensor) -> None:
    """Fill in gradients of h before the step, including that through the scores."""
    d, stride = s.hidden, s.modules * s.hidden
    for j in range(s.modules):
        dh = take(x.d_partly + j * d, stride, v.own, v.end, v.units, d)
        asked = take(x.asked + (v.now + j) * d, stride, v.own, v.end, v.units, d)
        dh += column(d_scores, v.each, j)[:, None] * asked
        put(x.d_states + (v.now + j) * d, stride, v.own, v.end, v.units, d, dh)
