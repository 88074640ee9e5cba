"""The forward kernel: tiles of environments through all steps of a span."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language import constexpr, tensor

from ....kernels.fusing import (
    add_gates,
    choose_each,
    column,
    multiply,
    own_of,
    put,
    put_gates,
    step_lstm,
    step_of,
    take,
    take_gates,
    take_row,
    with_column,
)
from .attention import choose, rank, there, weigh
from .memory import Tile


@triton.jit
def forward(
    x: tl.tuple,
    s: tl.tuple,
    taped: constexpr,
    sparse: constexpr,
    ordered: constexpr,
    wide_n: constexpr,
    wide_d: constexpr,
    wide_m: constexpr,
    wide_e: constexpr,
    tile: constexpr,
    precision: constexpr,
) -> None:
    """One tile, of `Forward` and `Sizes`."""
    run, own, end = own_of(s.batch, tile)
    each, units = tl.arange(0, wide_n), tl.arange(0, wide_d)
    words, part = tl.arange(0, wide_m), tl.arange(0, wide_e)
    for t in range(s.steps):
        begins, ends, now, after = step_of(x.starts, t, s.batch, own, end, s.modules)
        kept = now if taped else now * 0
        v = Tile(
            own, end, run * s.modules, each, units, words, part, now, after, kept, begins, ends
        )
        scores = ask(x, s, v)
        place = rank(x, s, v, scores, sparse, ordered)
        weights, probabilities = weigh(s, v, scores, place, sparse, ordered)
        mask = choose(s, v, place)
        put(x.scores + now, s.modules, own, end, each, s.modules, scores)
        put(x.weights + now, s.modules, own, end, each, s.modules, weights)
        put(x.probabilities + now, s.modules, own, end, each, s.modules, probabilities)
        put(x.masks + now, s.modules, own, end, each, s.modules, mask > 0)
        move(x, s, v, weights, mask, taped, precision)
        tl.debug_barrier()
        talk(x, s, v, precision)
        tl.debug_barrier()
        for head in range(s.talkers):
            listen(x, s, v, head)
        tl.debug_barrier()
        receive(x, s, v, mask, precision)
        tl.debug_barrier()


@triton.jit
def take_state(x: tl.tuple, s: tl.tuple, v: tl.tuple, j: tensor) -> tensor:
    """Module j's h before a step, [TILE, d]."""
    return take(
        x.before + (v.now + j) * s.hidden, s.modules * s.hidden, v.own, v.end, v.units, s.hidden
    )


@triton.jit
def ask(x: tl.tuple, s: tl.tuple, v: tl.tuple) -> tensor:
    """The modules' scores, [TILE, n]."""
    d = s.hidden
    scores = take(x.offset + v.now, s.modules, v.own, v.end, v.each, s.modules)
    for j in range(s.modules):
        asked = take(x.asked + (v.now + j) * d, s.modules * d, v.own, v.end, v.units, d)
        score = column(scores, v.each, j) + tl.sum(take_state(x, s, v, j) * asked, 1)
        scores = with_column(scores, v.each, j, score)
    return scores


@triton.jit
def move(
    x: tl.tuple,
    s: tl.tuple,
    v: tl.tuple,
    weights: tensor,
    mask: tensor,
    taped: constexpr,
    precision: constexpr,
) -> None:
    """Update the active modules; the others stay as they are."""
    d, stride = s.hidden, s.modules * s.hidden
    for j in range(s.modules):
        h = take_state(x, s, v, j)
        gates = read(x, s, v, column(weights, v.each, j), j)
        matrix = x.weight + (v.first + j) * 4 * d * d
        gates = add_gates(h, matrix, v.units, d, v.units, d, gates, precision)
        c = take(x.cells + (v.now + j) * d, stride, v.own, v.end, v.units, d)
        c = choose_each(v.begins, 0.0, c)
        gates, stepped_h, stepped_c = step_lstm(gates, c)
        active = column(mask, v.each, j) > 0
        h, c = choose_each(active, stepped_h, h), choose_each(active, stepped_c, c)
        put(x.between + (v.kept + j) * d, stride, v.own, v.end, v.units, d, h)
        put(x.cells + (v.after + j) * d, stride, v.own, v.end, v.units, d, c)
        if taped:
            kept = x.gates + (v.now + j) * 4 * d
            put_gates(kept, 4 * stride, v.own, v.end, v.units, d, gates)


@triton.jit
def read(x: tl.tuple, s: tl.tuple, v: tl.tuple, weight: tensor, j: tensor) -> tl.tuple:
    """The input's part in a module's gates, by its weight [TILE], plus their bias."""
    d = s.hidden
    gains = x.gains + (v.now + j) * 4 * d
    i, f, o, g = take_gates(gains, 4 * s.modules * d, v.own, v.end, v.units, d)
    weight, bias = weight[:, None], x.bias + (v.first + j) * 4 * d
    i = weight * i + take_row(bias, v.units, d)
    f = weight * f + take_row(bias + d, v.units, d)
    o = weight * o + take_row(bias + 2 * d, v.units, d)
    g = weight * g + take_row(bias + 3 * d, v.units, d)
    return i, f, o, g


@triton.jit
def talk(x: tl.tuple, s: tl.tuple, v: tl.tuple, precision: constexpr) -> None:
    """Compute queries, keys and values between modules."""
    d, m = s.hidden, s.talkers * s.features
    for j in range(s.modules):
        h = take(x.between + (v.kept + j) * d, s.modules * d, v.own, v.end, v.units, d)
        for kind in range(3):
            out = tl.zeros([v.own.shape[0], v.words.shape[0]], h.dtype)
            matrix = x.talk + (3 * (v.first + j) + kind) * m * d
            out = multiply(h, matrix, v.words, m, v.units, d, out, precision)
            place = x.projected + ((v.kept + j) * 3 + kind) * m
            put(place, 3 * s.modules * m, v.own, v.end, v.words, m, out)


@triton.jit
def rows_of_all(s: tl.tuple, v: tl.tuple) -> tensor:
    """Flat indices of the modules of the tile's environments, [TILE, n]."""
    return (v.own[:, None] * s.modules + v.each[None, :]).to(tl.int64)


@triton.jit
def take_all(x: tensor, stride: tensor, s: tl.tuple, v: tl.tuple) -> tensor:
    """Load one head's part of all modules, which are `stride` apart: [TILE, n, e]."""
    here = ((v.own < v.end)[:, None] & there(s, v))[:, :, None]
    here = here & (v.part < s.features)[None, None, :]
    place = x + rows_of_all(s, v)[:, :, None] * stride + v.part[None, None, :]
    return tl.load(place, here, other=0.0)


@triton.jit
def put_all(x: tensor, stride: tensor, s: tl.tuple, v: tl.tuple, value: tensor) -> None:
    """Store where `take_all` loads from."""
    here = ((v.own < v.end)[:, None] & there(s, v))[:, :, None]
    here = here & (v.part < s.features)[None, None, :]
    place = x + rows_of_all(s, v)[:, :, None] * stride + v.part[None, None, :]
    tl.store(place, value, here)


@triton.jit
def listen(x: tl.tuple, s: tl.tuple, v: tl.tuple, head: tensor) -> None:
    """All modules' messages from all modules by one head, by an online softmax."""
    e, m = s.features, s.talkers * s.features
    projected = x.projected + v.kept * 3 * m + head * e
    query = take_all(projected, 3 * m, s, v) / tl.sqrt(tl.cast(e, tl.float32))
    top = tl.full([v.own.shape[0], v.each.shape[0]], -float("inf"), query.dtype)
    total, message = tl.zeros_like(top), tl.zeros_like(query)
    for j in range(s.modules):
        key = projected + (3 * j + 1) * m
        value = take(key + m, 3 * s.modules * m, v.own, v.end, v.part, e)
        key = take(key, 3 * s.modules * m, v.own, v.end, v.part, e)
        score = tl.sum(query * key[:, None, :], 2)
        higher = tl.maximum(top, score)
        fading, weight = tl.exp(top - higher), tl.exp(score - higher)
        total = total * fading + weight
        message = message * fading[:, :, None] + weight[:, :, None] * value[:, None, :]
        top = higher
    put_all(x.messages + v.kept * m + head * e, m, s, v, message / total[:, :, None])
    place = x.totals + (v.kept + rows_of_all(s, v)) * s.talkers + head
    tl.store(place, top + tl.log(total), (v.own < v.end)[:, None] & there(s, v))


@triton.jit
def receive(x: tl.tuple, s: tl.tuple, v: tl.tuple, mask: tensor, precision: constexpr) -> None:
    """Add the projected messages to the active modules' h, and reset it for the next step."""
    d, m, stride = s.hidden, s.talkers * s.features, s.modules * s.hidden
    for j in range(s.modules):
        h = take(x.between + (v.kept + j) * d, stride, v.own, v.end, v.units, d)
        message = take(x.messages + (v.kept + j) * m, s.modules * m, v.own, v.end, v.words, m)
        matrix = x.listen + (v.first + j) * d * m
        more = multiply(message, matrix, v.units, d, v.words, m, h, precision)
        h = choose_each(column(mask, v.each, j) > 0, more, h)
        put(x.outputs + (v.now + j) * d, stride, v.own, v.end, v.units, d, h)
        h = choose_each(v.ends, take_row(x.start + (v.first + j) * d, v.units, d), h)
        put(x.before + (v.after + j) * d, stride, v.own, v.end, v.units, d, h)
