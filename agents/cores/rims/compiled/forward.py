"""The forward kernel: tiles of sixteen environments through all steps of a span."""

from __future__ import annotations

from typing import Any

from ....kernels.compiling import kernel, part
from ....kernels.lanes import WIDTH, anywhere, load, numbers, rows
from ....kernels.lstm import reset
from ....kernels.rows import clear, copy, gather, multiply, scatter
from .attention import ask, read, read_ahead, take_part, weigh
from .communication import attend_to_all, hear, receive
from .dynamics import gather_gates, step
from .sizes import Ahead, Forward, Places, Rows, Sizes, Weights, gained, offered


@kernel
def forward(start: int, end: int, told: Any, places: Any, others: Any, kind: Any) -> None:
    """Tiles `start` to `end`: fill in the tape and the results."""
    s, p, ahead = Sizes(*told[0]), Places(*told[1]), Ahead(*told[2])
    pointers, r = numbers(others, kind), Rows(*rows(places, kind))
    w, x = Weights(*pointers[:8]), Forward(*pointers[8:])
    n, state = s.modules, s.modules * s.hidden
    for tile in range(start, end):
        work, own = r.work + tile * ahead.end, tile * WIDTH * state
        h, c = work + ahead.h, work + ahead.c
        gather(x.h + own, state, state, h)
        if s.lstm:
            gather(x.c + own, state, state, c)
        for t in range(s.steps):
            frame = t * s.tiles + tile
            tape = r.tape + (tile * s.steps + t if s.taped else start) * p.end
            reset(state, load(r.starts, frame), w.start, h, c)
            move(s, p, w, x, ahead, work, frame, tape)
            talk(s, p, w, ahead, work, tape)
            each = frame * WIDTH
            scatter(h, state, x.outputs + each * state, state)
            scatter(tape + p.mask, n, x.masks + each * n, n)
            scatter(tape + p.probability, n, x.probabilities + each * n, n)
        if s.lstm:
            scatter(c, state, x.last + own, state)


@part
def move(s: Any, p: Any, w: Any, x: Any, ahead: Any, work: Any, frame: int, tape: Any) -> None:
    """Input attention, and the step of the active modules."""
    n, d = s.modules, s.hidden
    h, c = work + ahead.h, work + ahead.c
    offers, gains, order = work + ahead.offers, work + ahead.gains, work + ahead.order
    taken = work + ahead.read
    each, width = frame * WIDTH, offered(s) + n * gained(s)
    given = x.offers + each * width
    if s.lstm:
        copy(c, n * d, tape + p.memory)
    copy(h, n * d, tape + p.before)
    gather(given, width, offered(s), offers)
    ask(s, p, w.query, w.query_bias, offers, h, tape)
    if s.ordered:
        gather(x.ranks + each * n, n, n, order)
    weigh(s, p, order, tape)
    if s.knock_out:
        gather(x.lots + each * n, n, n, order)
    take_part(s, p, order, tape)
    for j in range(n):
        if anywhere(load(tape, p.mask + j)):
            gates = tape + (p.gates + 4 * j * d)
            read(s, p, offers, j, tape, taken)
            gather_gates(s, j, w.input, w.hidden, w.bias, taken, h, gates)
            if s.ahead:
                gather(given + offered(s) + j * gained(s), width, gained(s), gains)
                read_ahead(s, p, gains, j, tape, gates)
            step(s, p, j, h, c, tape)


@part
def talk(s: Any, p: Any, w: Any, ahead: Any, work: Any, tape: Any) -> None:
    """Attention between modules."""
    n, d, width = s.modules, s.hidden, s.talkers * s.features
    h, message, change = work + ahead.h, work + ahead.message, work + ahead.change
    clear(tape + p.projected, 3 * n * width)
    for j in range(n):
        matrix, projected = w.talk + 3 * j * width * d, tape + (p.projected + 3 * j * width)
        multiply(matrix, 3 * width, d, h + j * d, projected)
    for j in range(n):
        if anywhere(load(tape, p.mask + j)):
            attend_to_all(s, p, j, tape)
            hear(s, p, j, tape, message)
            receive(s, p, j, w.listen, message, change, h, tape)
