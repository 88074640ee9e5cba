"""A module's dynamics, LSTM or GRU, and back.

Gates are rows of lanes [4·d]: LSTM's input, forget, output and candidate; GRU's reset, update, and
the parts of its candidate from the input and from the state.
"""

from __future__ import annotations

from typing import Any

from ....kernels.compiling import inlined, part
from ....kernels.lanes import choose, fma, load, nothing, sigmoid, store, tanh
from ....kernels.lstm import in_order, step_lstm, step_lstm_back
from ....kernels.rows import clear, multiply, multiply_back, repeat


@part
def gather_gates(
    s: Any, j: int, inputs: Any, hidden: Any, bias: Any, read: Any, h: Any, gates: Any
) -> None:
    """The gates before their nonlinearities."""
    d, width, own = s.hidden, s.heads * s.value, h + j * s.hidden
    rows, both = s.gates * d, s.gates * d if s.lstm else 2 * d
    repeat(bias + j * rows, rows, gates)
    multiply(inputs + j * rows * width, rows, width, read, gates)
    multiply(hidden + j * rows * d, both, d, own, gates)
    if not s.lstm:
        held = gates + 3 * d
        clear(held, d)
        multiply(hidden + (j * rows + both) * d, d, d, own, held)


@part
def gather_gates_back(
    s: Any, j: int, inputs: Any, hidden: Any, d_gates: Any, d_read: Any, dh: Any
) -> None:
    """Gradients of what a module reads and, accumulated, of its h."""
    d, width, own = s.hidden, s.heads * s.value, dh + j * s.hidden
    rows, both = s.gates * d, s.gates * d if s.lstm else 2 * d
    clear(d_read, width)
    multiply_back(inputs + j * rows * width, rows, width, d_gates, d_read)
    multiply_back(hidden + j * rows * d, both, d, d_gates, own)
    if not s.lstm:
        multiply_back(hidden + (j * rows + both) * d, d, d, d_gates + 3 * d, own)


@part
def step(s: Any, p: Any, j: int, h: Any, c: Any, tape: Any) -> None:
    """Update h and c, where the module is active."""
    d, own = s.hidden, j * s.hidden
    gates, squashed, mask = on_tape(p, j, own, tape)
    for row in range(d):
        if s.lstm:
            at = in_order(d)
            step_lstm(gates + row, at, squashed + row, mask, h + (own + row), c + (own + row))
        else:
            step_gru(gates + row, d, squashed + row, mask, h + (own + row))


@inlined
def on_tape(p: Any, j: int, own: int, tape: Any) -> Any:
    """Where a module's gates and squashed values are, and its mask."""
    return tape + (p.gates + 4 * own), tape + (p.squashed + own), load(tape, p.mask + j)


@inlined
def step_gru(gates: Any, d: int, squashed: Any, mask: Any, h: Any) -> None:
    """Update one unit of h."""
    r, u = sigmoid(load(gates, 0)), sigmoid(load(gates, d))
    candidate = tanh(fma(r, load(gates, 3 * d), load(gates, 2 * d)))
    store(gates, 0, r)
    store(gates, d, u)
    store(squashed, 0, candidate)
    before = load(h, 0)
    store(h, 0, choose(mask, fma(u, before - candidate, candidate), before))


@part
def step_again(s: Any, p: Any, j: int, tape: Any, out: Any) -> None:
    """Recompute a module's h [d] after its step from the tape."""
    d, own = s.hidden, j * s.hidden
    gates, squashed, mask = on_tape(p, j, own, tape)
    for row in range(d):
        before, result = load(tape, p.before + own + row), load(squashed, row)
        if s.lstm:
            after = load(gates, in_order(d)[1] + row) * result
        else:
            after = fma(load(gates, d + row), before - result, result)
        store(out, row, choose(mask, after, before))


@part
def step_back(s: Any, p: Any, j: int, dh: Any, dc: Any, d_gates: Any, tape: Any) -> None:
    """Gradients of a module's gates, and of its h and c except through the gates."""
    d, own = s.hidden, j * s.hidden
    gates, squashed, mask = on_tape(p, j, own, tape)
    for row in range(d):
        place, out = own + row, d_gates + row
        if s.lstm:
            before, at, other = load(tape, p.memory + place), in_order(d), squashed + row
            step_lstm_back(gates + row, at, other, mask, before, dh + place, dc + place, out)
        else:
            before = load(tape, p.before + place)
            step_gru_back(gates + row, d, squashed + row, mask, before, dh + place, out)


@inlined
def step_gru_back(
    gates: Any, d: int, squashed: Any, mask: Any, before: Any, dh: Any, d_gates: Any
) -> None:
    """Gradients of the gates and of one unit of h."""
    r, u, held = load(gates, 0), load(gates, d), load(gates, 3 * d)
    candidate, h = load(squashed, 0), load(dh, 0)
    reached = choose(mask, h, nothing(dh))
    read = reached * (1.0 - u) * (1.0 - candidate * candidate)
    store(d_gates, 0, read * held * (r * (1.0 - r)))
    store(d_gates, d, reached * (before - candidate) * (u * (1.0 - u)))
    store(d_gates, 2 * d, read)
    store(d_gates, 3 * d, read * r)
    store(dh, 0, choose(mask, h * u, h))
