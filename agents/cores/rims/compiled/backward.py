"""The kernel that takes gradients of tiles of sixteen environments back through a span."""

from __future__ import annotations

from typing import Any

from ....kernels.compiling import kernel, part
from ....kernels.lanes import anywhere, load, numbers, rows
from ....kernels.lstm import reset_back
from ....kernels.rows import add, clear, gather, multiply_back, scatter
from .attention import ask_back, read_ahead_back, read_back, weigh_back
from .communication import communicate_back, receive_back
from .dynamics import gather_gates_back, step_back
from .sizes import Back, Backward, Places, Sizes, Weights, keep


@kernel
def backward(start: int, end: int, told: Any, places: Any, parameters: Any, kind: Any) -> None:
    """Tiles `start` to `end`: fills the gradients in."""
    s, p, back = Sizes(*told[0]), Places(*told[1]), Back(*told[2])
    w, x = Weights(*numbers(parameters, kind)), Backward(*rows(places, kind))
    state = s.modules * s.hidden
    for tile in range(start, end):
        work = x.work + tile * back.end
        h, c = work + back.h, work + back.c
        clear(h, state)
        if s.lstm:
            gather(x.d_last + tile, s.tiles, state, c)
        for t in range(s.steps - 1, -1, -1):
            frame, tape = t * s.tiles + tile, x.tape + (tile * s.steps + t) * p.end
            add(x.d_outputs + frame, s.frames, state, h)
            talk_back(s, p, w, x, back, work, frame, tape)
            move_back(s, p, w, x, back, work, frame, tape)
            reset_back(state, load(x.starts, frame), x.d_first + tile, s.tiles, h, c)
        scatter(h, state, x.d_h + tile, s.tiles)
        if s.lstm:
            scatter(c, state, x.d_c + tile, s.tiles)


@part
def talk_back(s: Any, p: Any, w: Any, x: Any, back: Any, work: Any, frame: int, tape: Any) -> None:
    """The attention between modules."""
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
    keep(s, s.attention_learns, projected, 3 * n * talk, x.projected + frame)
    keep(s, s.attention_learns, change, n * d, x.change + frame)


@part
def move_back(s: Any, p: Any, w: Any, x: Any, back: Any, work: Any, frame: int, tape: Any) -> None:
    """The modules' dynamics, and the attention to the input."""
    d, reads, key = s.hidden, s.heads * s.value, s.heads * s.key
    h, c, gates, taken = work + back.h, work + back.c, work + back.gates, work + back.read
    query, weights = work + back.query, work + back.weights
    d_key, d_value = work + back.key, work + back.value
    clear(weights, back.end - back.weights)  # keys and values are after them
    for j in range(s.modules):
        if anywhere(load(tape, p.mask + j)):
            before = x.seen + ((j * (reads + d) + reads) * s.frames + frame)
            step_back(s, p, j, before, h, c, gates, tape)
            gather_gates_back(s, j, w.input, w.hidden, gates, taken, h)
            read_back(s, p, x.values + frame, j, taken, weights, d_value, tape)
        else:
            clear(gates, 4 * d)
        if s.ahead:
            own = j * s.gates * d * s.frames + frame
            read_ahead_back(s, p, x.values + own, j, gates, weights, x.d_values + own, tape)
        keep(s, s.modules_learn, gates, 4 * d, x.gates + (4 * j * d * s.frames + frame))
    weigh_back(s, p, weights, tape)
    ask_back(s, p, w.query, x.keys + frame, weights, query, d_key, h, tape)
    keep(s, s.attention_learns, query, s.modules * key, x.query + frame)
    scatter(d_key, s.slots * key, x.d_keys + frame, s.frames)
    scatter(d_value, s.slots * reads, x.d_values + frame, s.frames)
