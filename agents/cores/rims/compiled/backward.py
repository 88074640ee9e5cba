"""The backward kernel: gradients of tiles of sixteen environments back through a span."""

from __future__ import annotations

from typing import Any

from ....kernels.compiling import kernel, part
from ....kernels.lanes import WIDTH, anywhere, load, numbers, rows, where
from ....kernels.lstm import reset_back
from ....kernels.products import EVERYWHERE, add_products
from ....kernels.rows import add, clear, copy, gather, multiply_back, scatter
from .attention import ask_back, read, read_ahead_back, read_back, weigh_back
from .communication import communicate_back, hear, receive_back
from .dynamics import gather_gates_back, step_again, step_back
from .sizes import (
    Back,
    Backward,
    Learnt,
    Places,
    Rows,
    Sizes,
    Weights,
    gained,
    offered,
    products,
)


@kernel
def backward(start: int, end: int, told: Any, places: Any, others: Any, kind: Any) -> None:
    """Tiles `start` to `end`: fill in the gradients."""
    s, p, back, learnt = Sizes(*told[0]), Places(*told[1]), Back(*told[2]), Learnt(*told[3])
    pointers, r = numbers(others, kind), Rows(*rows(places, kind))
    w, x = Weights(*pointers[:8]), Backward(*pointers[8:])
    state = s.modules * s.hidden
    for tile in range(start, end):
        work, own = r.work + tile * back.end, tile * WIDTH * state
        h, c, arrived = work + back.h, work + back.c, work + back.arrived
        sums = r.sums + tile * learnt.end
        clear(work, 2 * state)  # gradients of the initial state and of h
        clear(sums, learnt.end)
        if s.lstm:
            gather(x.d_last + own, state, state, c)
        for t in range(s.steps - 1, -1, -1):
            frame, tape = t * s.tiles + tile, r.tape + (tile * s.steps + t) * p.end
            gather(x.d_outputs + frame * WIDTH * state, state, state, arrived)
            add(arrived, state, h)
            talk_back(s, p, w, back, work, tape)
            if s.attention_learns:
                learn_to_talk(s, p, learnt, back, work, tape, sums)
            move_back(s, p, learnt, w, x, back, work, frame, tape, sums)
            if s.attention_learns:
                learn_to_ask(s, p, learnt, back, work, tape, sums)
            reset_back(state, load(r.starts, frame), work + back.first, h, c)
        scatter(h, state, x.d_h + own, state)
        if s.lstm:
            scatter(c, state, x.d_c + own, state)


@part
def talk_back(s: Any, p: Any, w: Any, back: Any, work: Any, tape: Any) -> None:
    """Back through the attention between modules."""
    n, d, talk = s.modules, s.hidden, s.talkers * s.features
    h, change, message = work + back.h, work + back.change, work + back.message
    projected, scores = work + back.projected, work + back.scores
    clear(projected, 3 * n * talk)
    for j in range(n):
        receive_back(s, p, j, w.listen, h, change, message, tape)
        if anywhere(load(tape, p.mask + j)):
            communicate_back(s, p, j, message, scores, projected, tape)
    for j in range(n):
        matrix = w.talk + 3 * j * talk * d
        multiply_back(matrix, 3 * talk, d, projected + 3 * j * talk, h + j * d)


@part
def learn_to_talk(s: Any, p: Any, learnt: Any, back: Any, work: Any, tape: Any, sums: Any) -> None:
    """Add to the parameters' gradients of the attention between modules."""
    n, d, talk = s.modules, s.hidden, s.talkers * s.features
    given, turned = work + back.given, work + back.turned
    for j in range(n):
        change, projected = work + (back.change + j * d), work + (back.projected + 3 * j * talk)
        of_talk = sums + (learnt.talk + j * products(s, 3 * talk, d) // n)
        of_listen = sums + (learnt.listen + j * products(s, d, talk) // n)
        active = where(load(tape, p.mask + j))
        step_again(s, p, j, tape, given)
        add_products(projected, 3 * talk, given, d, EVERYWHERE, turned, of_talk)
        if active:
            hear(s, p, j, tape, given)
            add_products(change, d, given, talk, active, turned, of_listen)


@part
def learn_to_ask(s: Any, p: Any, learnt: Any, back: Any, work: Any, tape: Any, sums: Any) -> None:
    """Likewise of the queries."""
    n, d, key = s.modules, s.hidden, s.heads * s.key
    add(work + back.query, n * key, sums + learnt.query_bias)
    for j in range(n):
        query, before = work + (back.query + j * key), tape + (p.before + j * d)
        of_query = sums + (learnt.query + j * products(s, key, d) // n)
        add_products(query, key, before, d, EVERYWHERE, work + back.turned, of_query)


@part
def move_back(
    s: Any,
    p: Any,
    learnt: Any,
    w: Any,
    x: Any,
    back: Any,
    work: Any,
    frame: int,
    tape: Any,
    sums: Any,
) -> None:
    """Back through the modules' dynamics and the input attention."""
    n, d, width = s.modules, s.hidden, offered(s) + s.modules * gained(s)
    h, c, gates, taken = work + back.h, work + back.c, work + back.gates, work + back.read
    query, weights, given = work + back.query, work + back.weights, work + back.given
    offers, d_offers = work + back.offers, work + back.d_offers
    gains, d_gains = work + back.gains, work + back.d_gains
    here = frame * WIDTH * width
    gather(x.offers + here, width, offered(s), offers)
    clear(weights, back.end - back.weights)  # and the offers' gradients, which follow them
    for j in range(n):
        active = where(load(tape, p.mask + j))
        if active:
            step_back(s, p, j, h, c, gates, tape)
            if s.modules_learn:
                copy(tape + (p.before + j * d), d, given)
                read(s, p, offers, j, tape, given + d)
                learn_to_move(s, learnt, j, gates, given, active, work + back.turned, sums)
            gather_gates_back(s, j, w.input, w.hidden, gates, taken, h)
            read_back(s, p, offers, j, taken, weights, d_offers, tape)
        else:
            clear(gates, 4 * d)
        if s.ahead:
            own = here + offered(s) + j * gained(s)
            gather(x.offers + own, width, gained(s), gains)
            read_ahead_back(s, p, gains, j, gates, weights, d_gains, tape)
            scatter(d_gains, gained(s), x.d_offers + own, width)
    weigh_back(s, p, weights, tape)
    ask_back(s, p, w.query, offers, weights, query, d_offers, h, tape)
    scatter(d_offers, offered(s), x.d_offers + here, width)


@part
def learn_to_move(
    s: Any, learnt: Any, j: int, gates: Any, seen: Any, active: int, turned: Any, sums: Any
) -> None:
    """Add to the parameters' gradients of a module's dynamics."""
    rows, width = 4 * s.hidden, s.hidden + s.heads * s.value
    of_gates = sums + (learnt.gates + j * products(s, rows, width) // s.modules)
    add(gates, rows, sums + (learnt.bias + j * rows))
    add_products(gates, rows, seen, width, active, turned, of_gates)
