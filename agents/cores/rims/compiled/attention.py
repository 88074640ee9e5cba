"""Input attention, by which modules compete for the slots, and back.

Scores, weights and their gradients are rows of lanes [n, H, S].
"""

from __future__ import annotations

from typing import Any

from ....kernels.compiling import inlined, part
from ....kernels.lanes import above, choose, exp, fma, larger, like, load, nothing, store
from ....kernels.rows import multiply, multiply_back, repeat
from ..cell import EPSILON


@part
def ask(s: Any, p: Any, matrix: Any, bias: Any, offers: Any, h: Any, tape: Any) -> None:
    """The queries of all modules, and their scores, stored in place of the weights."""
    width, scale = s.heads * s.key, 1 / s.key**0.5
    for j in range(s.modules):
        query = tape + (p.query + j * width)
        repeat(bias + j * width, width, query)
        multiply(matrix + j * width * s.hidden, width, s.hidden, h + j * s.hidden, query)
        for head in range(s.heads):
            for slot in range(s.slots):
                own, key = query + head * s.key, offers + (keys(s, slot) + head * s.key)
                score = load(own, 0) * load(key, 0)
                for k in range(1, s.key):
                    score = fma(load(own, k), load(key, k), score)
                row = (j * s.heads + head) * s.slots + slot
                store(tape, p.weights + row, score * scale)


@inlined
def keys(s: Any, slot: int) -> int:
    """Where a slot's keys [H·key] are among the offers."""
    row: int = slot * s.heads * (s.key + s.value)
    return row


@inlined
def values(s: Any, slot: int) -> int:
    """Where its values [H·value] are."""
    row: int = keys(s, slot) + s.heads * s.key
    return row


@part
def ask_back(
    s: Any,
    p: Any,
    matrix: Any,
    offers: Any,
    d_scores: Any,
    d_query: Any,
    d_offers: Any,
    dh: Any,
    tape: Any,
) -> None:
    """Gradients of queries [n, H·key] and, accumulated, of keys and h."""
    width, scale = s.heads * s.key, 1 / s.key**0.5
    for j in range(s.modules):
        for head in range(s.heads):
            scores = d_scores + (j * s.heads + head) * s.slots
            for k in range(head * s.key, (head + 1) * s.key):
                query, total = load(tape, p.query + j * width + k), nothing(tape)
                for slot in range(s.slots):
                    score, key = load(scores, slot) * scale, keys(s, slot) + k
                    total = fma(score, load(offers, key), total)
                    store(d_offers, key, fma(score, query, load(d_offers, key)))
                store(d_query, j * width + k, total)
        weight = matrix + j * width * s.hidden
        multiply_back(weight, width, s.hidden, d_query + j * width, dh + j * s.hidden)


@part
def weigh(s: Any, p: Any, ranks: Any, tape: Any) -> None:
    """From scores to weights, ranks and the distribution over modules."""
    if s.sparse:
        compete(s, p, tape)
        rank(s, p, ranks, tape)
        share(s, p, tape)
    else:
        attend(s, p, tape)
        rank(s, p, ranks, tape)
        total = load(tape, p.probability)
        for j in range(1, s.modules):
            total = total + load(tape, p.probability + j)
        for j in range(s.modules):
            store(tape, p.probability + j, load(tape, p.probability + j) / total)


@part
def weigh_back(s: Any, p: Any, d_weights: Any, tape: Any) -> None:
    """From the gradients of the weights to those of the scores, in their place."""
    if s.sparse:
        share_back(s, p, d_weights, tape)
    else:
        for row in range(0, s.modules * s.heads * s.slots, s.slots):
            softmax_back(d_weights + row, tape + (p.weights + row), 1, s.slots)


@part
def softmax(x: Any, stride: int, count: int, beside: float) -> None:
    """Softmax in place, over rows `stride` apart and `beside` more whose score is 0."""
    top = load(x, 0)
    if beside:
        top = larger(top, nothing(x))
    for i in range(1, count):
        top = larger(load(x, i * stride), top)
    total = beside * exp(0.0 - top)
    for i in range(count):
        weight = exp(load(x, i * stride) - top)
        total = total + weight
        store(x, i * stride, weight)
    for i in range(count):
        store(x, i * stride, load(x, i * stride) / total)


@part
def softmax_back(gradient: Any, weights: Any, stride: int, count: int) -> None:
    """From the gradient of a softmax to that of its scores, in place."""
    total = nothing(gradient)
    for i in range(count):
        total = fma(load(gradient, i * stride), load(weights, i * stride), total)
    for i in range(count):
        slope = load(weights, i * stride)
        store(gradient, i * stride, slope * (load(gradient, i * stride) - total))


@part
def attend(s: Any, p: Any, tape: Any) -> None:
    """Softmax over the slots and an empty one, and how much of it is not the empty one's."""
    for j in range(s.modules):
        attended = nothing(tape)
        for head in range(s.heads):
            weights = tape + (p.weights + (j * s.heads + head) * s.slots)
            softmax(weights, 1, s.slots, 1.0)
            for slot in range(s.slots):
                attended = attended + load(weights, slot)
        store(tape, p.probability + j, attended / s.heads)


@part
def compete(s: Any, p: Any, tape: Any) -> None:
    """Softmax over modules, its mean over heads and slots, and softmax over slots."""
    n, scores = s.modules, s.heads * s.slots
    for row in range(n * scores):
        score = load(tape, p.weights + row)
        store(tape, p.competing + row, score)
        store(tape, p.slots + row, score)
    for i in range(scores):
        softmax(tape + (p.competing + i), scores, n, 0.0)
    for j in range(n):
        total = nothing(tape)
        for i in range(j * scores, (j + 1) * scores):
            total = total + load(tape, p.competing + i)
        store(tape, p.probability + j, total / scores)
    for row in range(0, n * scores, s.slots):
        softmax(tape + (p.slots + row), 1, s.slots, 0.0)


@part
def rank(s: Any, p: Any, ranks: Any, tape: Any) -> None:
    """Each module's rank: as given, or by attention, the most first (ties: by index)."""
    for j in range(s.modules):
        place = nothing(tape)
        if s.ordered:
            place = load(ranks, j)
        else:
            own = load(tape, p.probability + j)
            for i in range(j):
                place = place + (1.0 - above(own, load(tape, p.probability + i)))
            for i in range(j + 1, s.modules):
                place = place + above(load(tape, p.probability + i), own)
        store(tape, p.rank + j, place)


@inlined
def chosen(s: Any, place: Any) -> Any:
    """1 for a rank that is active, else 0."""
    return above(like(place, s.active - 0.5), place)


@inlined
def runner_up(s: Any, place: Any) -> Any:
    """1 for the rank whose attention is the threshold, if the choice goes by attention."""
    after = above(place, like(place, s.active - 0.5))
    return (1.0 - s.ordered) * (after - above(place, like(place, s.active + 0.5)))


@part
def share(s: Any, p: Any, tape: Any) -> None:
    """The weights: excess over the threshold, normalised, times the softmax over slots."""
    scores, threshold = s.heads * s.slots, nothing(tape)
    for j in range(s.modules):
        here = runner_up(s, load(tape, p.rank + j))
        threshold = fma(here, load(tape, p.probability + j), threshold)
    total = like(threshold, EPSILON)
    for j in range(s.modules):
        here = chosen(s, load(tape, p.rank + j))
        excess = here * (load(tape, p.probability + j) - threshold)
        total = total + excess
        store(tape, p.share + j, excess)
    store(tape, p.total, total)
    for j in range(s.modules):
        own = load(tape, p.share + j) / total
        store(tape, p.share + j, own)
        for i in range(j * scores, (j + 1) * scores):
            store(tape, p.weights + i, own * load(tape, p.slots + i))


@part
def share_back(s: Any, p: Any, d_weights: Any, tape: Any) -> None:
    """`compete` and `share` back: from the gradients of the weights to those of the scores."""
    n, scores = s.modules, s.heads * s.slots
    total = load(tape, p.total)
    shared, threshold = nothing(tape), nothing(tape)
    for j in range(n):  # gradients of shares, in place of probabilities
        gradient = nothing(tape)
        for i in range(j * scores, (j + 1) * scores):
            gradient = fma(load(d_weights, i), load(tape, p.slots + i), gradient)
        shared = fma(gradient, load(tape, p.share + j), shared)
        store(tape, p.probability + j, gradient)
    for j in range(n):
        here = chosen(s, load(tape, p.rank + j))
        excess = here * (load(tape, p.probability + j) - shared) / total
        threshold = threshold - excess
        store(tape, p.probability + j, excess)
    for i in range(scores):
        weighted = nothing(tape)
        for j in range(n):
            competing = load(tape, p.competing + (j * scores + i))
            weighted = fma(competing, of_probability(s, p, threshold, j, tape), weighted)
        for j in range(n):
            row = p.competing + (j * scores + i)
            gradient = of_probability(s, p, threshold, j, tape) - weighted
            store(tape, row, gradient * load(tape, row))
    for j in range(n):
        own = load(tape, p.share + j)
        for row in range(j * scores, (j + 1) * scores, s.slots):
            softmax_back(d_weights + row, tape + (p.slots + row), 1, s.slots)
        for row in range(j * scores, (j + 1) * scores):
            gradient = fma(own, load(d_weights, row), load(tape, p.competing + row))
            store(d_weights, row, gradient)


@inlined
def of_probability(s: Any, p: Any, threshold: Any, j: int, tape: Any) -> Any:
    """The gradient of one softmax over modules, through its mean, which may be the threshold."""
    here = runner_up(s, load(tape, p.rank + j))
    return fma(here, threshold, load(tape, p.probability + j)) / (s.heads * s.slots)


@part
def take_part(s: Any, p: Any, lots: Any, tape: Any) -> None:
    """The mask: the chosen modules, except the disabled one and those that lots knock out."""
    zero = nothing(tape)
    for j in range(s.modules):
        store(tape, p.mask + j, zero if j == s.disabled else chosen(s, load(tape, p.rank + j)))
    if s.knock_out == 0:
        return
    for j in range(s.modules):  # 2 for one that is knocked out, until all are counted
        own, before = load(lots, j), zero
        for i in range(s.modules):
            active = above(load(tape, p.mask + i), zero)
            before = fma(active, above(own, load(lots, i)), before)
        mask, still = load(tape, p.mask + j), above(like(own, s.knock_out), before)
        store(tape, p.mask + j, mask + mask * still)
    for row in range(p.mask, p.mask + s.modules):
        mask = load(tape, row)
        store(tape, row, choose(above(mask, like(mask, 1.5)), zero, mask))


@part
def read(s: Any, p: Any, offers: Any, j: int, tape: Any, out: Any) -> None:
    """What a module reads [H·value]: the slots' values by its weights."""
    for head in range(s.heads):
        weights = tape + (p.weights + (j * s.heads + head) * s.slots)
        for row in range(head * s.value, (head + 1) * s.value):
            total = load(weights, 0) * load(offers, values(s, 0) + row)
            for slot in range(1, s.slots):
                total = fma(load(weights, slot), load(offers, values(s, slot) + row), total)
            store(out, row, total)


@part
def read_back(
    s: Any,
    p: Any,
    offers: Any,
    j: int,
    d_read: Any,
    d_weights: Any,
    d_offers: Any,
    tape: Any,
) -> None:
    """Gradients of a module's weights and, accumulated, of the values."""
    for head in range(s.heads):
        for slot in range(s.slots):
            place = (j * s.heads + head) * s.slots + slot
            weight, total = load(tape, p.weights + place), nothing(tape)
            for row in range(head * s.value, (head + 1) * s.value):
                gradient, value = load(d_read, row), values(s, slot) + row
                total = fma(gradient, load(offers, value), total)
                store(d_offers, value, fma(weight, gradient, load(d_offers, value)))
            store(d_weights, place, total)


@part
def read_ahead(s: Any, p: Any, gains: Any, j: int, tape: Any, gates: Any) -> None:
    """Add to a module's gates what was multiplied ahead [gates·d], by its weight."""
    weight = load(tape, p.weights + j)
    for row in range(s.gates * s.hidden):
        store(gates, row, fma(weight, load(gains, row), load(gates, row)))


@part
def read_ahead_back(
    s: Any, p: Any, gains: Any, j: int, d_gates: Any, d_weights: Any, d_gains: Any, tape: Any
) -> None:
    """Gradients of a module's weight and of what was multiplied ahead."""
    weight, total = load(tape, p.weights + j), nothing(tape)
    for row in range(s.gates * s.hidden):
        gradient = load(d_gates, row)
        total = fma(gradient, load(gains, row), total)
        store(d_gains, row, weight * gradient)
    store(d_weights, j, total)
