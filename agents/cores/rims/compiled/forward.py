"""The kernel that takes tiles of sixteen environments through all steps of a span."""

from __future__ import annotations

from typing import Any

from ....kernels.compiling import kernel, part
from ....kernels.lanes import anywhere, load, numbers, rows
from ....kernels.lstm import reset
from ....kernels.rows import clear, gather, multiply, scatter
from .attention import ask, read, read_ahead, take_part, weigh
from .communication import communicate, receive
from .dynamics import gather_gates, step
from .sizes import Ahead, Forward, Places, Sizes, Weights, keep


@kernel
def forward(start: int, end: int, told: Any, places: Any, parameters: Any, kind: Any) -> None:
    """Tiles `start` to `end`: fills the tape, what is kept, and the results in."""
    s, p, ahead = Sizes(*told[0]), Places(*told[1]), Ahead(*told[2])
    w, x = Weights(*numbers(parameters, kind)), Forward(*rows(places, kind))
    n, state = s.modules, s.modules * s.hidden
    for tile in range(start, end):
        work = x.work + tile * ahead.end
        h, c = work + ahead.h, work + ahead.c
        gather(x.h + tile, s.tiles, state, h)
        if s.lstm:
            gather(x.c + tile, s.tiles, state, c)
        for t in range(s.steps):
            frame = t * s.tiles + tile
            tape = x.tape + (tile * s.steps + t if s.taped else tile) * p.end
            reset(state, load(x.starts, frame), w.start, h, c)
            move(s, p, w, x, ahead, work, frame, tape)
            talk(s, p, w, x, ahead, work, frame, tape)
            scatter(h, state, x.outputs + frame, s.frames)
            scatter(tape + p.mask, n, x.masks + frame, s.frames)
            scatter(tape + p.probability, n, x.probabilities + frame, s.frames)
        if s.lstm:
            scatter(c, state, x.last + tile, s.tiles)


@part
def move(s: Any, p: Any, w: Any, x: Any, ahead: Any, work: Any, frame: int, tape: Any) -> None:
    """The attention to the input, and the step of the modules that it chooses."""
    d, reads = s.hidden, s.heads * s.value
    h, c, taken = work + ahead.h, work + ahead.c, work + ahead.read
    if s.lstm:
        scatter(c, s.modules * d, tape + p.memory, 1)
    ask(s, p, w.query, w.query_bias, x.keys + frame, h, tape)
    weigh(s, p, x.ranks + frame, tape)
    take_part(s, p, x.lots + frame, tape)
    for j in range(s.modules):
        seen = x.seen + (j * (reads + d) * s.frames + frame)
        keep(s, s.taped, h + j * d, d, seen + reads * s.frames)
        if anywhere(load(tape, p.mask + j)):
            gates = tape + (p.gates + 4 * j * d)
            read(s, p, x.values + frame, j, tape, taken)
            gather_gates(s, j, w.input, w.hidden, w.bias, taken, h, gates)
            if s.ahead:
                gains = x.values + (j * s.gates * d * s.frames + frame)
                read_ahead(s, p, gains, j, tape, gates)
            step(s, p, j, h, c, tape)
        else:
            clear(taken, reads)
        keep(s, s.taped, taken, reads, seen)


@part
def talk(s: Any, p: Any, w: Any, x: Any, ahead: Any, work: Any, frame: int, tape: Any) -> None:
    """The attention between modules."""
    n, d, width = s.modules, s.hidden, s.talkers * s.features
    h, change, message = work + ahead.h, work + ahead.change, work + ahead.message
    keep(s, s.taped, h, n * d, x.between + frame)
    clear(tape + p.projected, 3 * n * width)
    for j in range(n):
        matrix, projected = w.talk + 3 * j * width * d, tape + (p.projected + 3 * j * width)
        multiply(matrix, 3 * width, d, h + j * d, projected)
    for j in range(n):
        if anywhere(load(tape, p.mask + j)):
            communicate(s, p, j, tape, message)
            receive(s, p, j, w.listen, message, change, h, tape)
        else:
            clear(message, width)
        keep(s, s.taped, message, width, x.message + (j * width * s.frames + frame))
