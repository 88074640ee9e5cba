"""A step of an LSTM and resets, and back."""

from __future__ import annotations

from typing import Any

from .compiling import inlined
from .lanes import anywhere, choose, fma, load, nothing, sigmoid, spread, store, tanh


@inlined
def in_order(d: int) -> Any:
    """Offsets of forget, output and candidate from input, for gates in that order, d apart."""
    return d, 2 * d, 3 * d


@inlined
def step_lstm(gates: Any, at: Any, squashed: Any, mask: Any, h: Any, c: Any) -> None:
    """Update one unit of h and c, where the mask is not 0; gates take on their activations.

    Gates are rows: input, and at offsets `at` forget, output and candidate. `squashed` is set to
    tanh c.
    """
    forget, output, candidate = at
    i, f = sigmoid(load(gates, 0)), sigmoid(load(gates, forget))
    o, g = sigmoid(load(gates, output)), tanh(load(gates, candidate))
    before = load(c, 0)
    after = fma(f, before, i * g)
    result = tanh(after)
    store(gates, 0, i)
    store(gates, forget, f)
    store(gates, output, o)
    store(gates, candidate, g)
    store(squashed, 0, result)
    store(c, 0, choose(mask, after, before))
    store(h, 0, choose(mask, o * result, load(h, 0)))


@inlined
def step_lstm_back(
    gates: Any, at: Any, squashed: Any, mask: Any, before: Any, dh: Any, dc: Any, d_gates: Any
) -> None:
    """From gradients of one unit of h and c to the gates', and to those before, not via gates."""
    forget, output, candidate = at
    i, f, o, g = load(gates, 0), load(gates, forget), load(gates, output), load(gates, candidate)
    result, h, c, zero = load(squashed, 0), load(dh, 0), load(dc, 0), nothing(dh)
    reached = choose(mask, h, zero)
    through = fma(reached * o, 1.0 - result * result, choose(mask, c, zero))
    store(d_gates, 0, through * g * (i * (1.0 - i)))
    store(d_gates, forget, through * before * (f * (1.0 - f)))
    store(d_gates, output, reached * result * (o * (1.0 - o)))
    store(d_gates, candidate, through * i * (1.0 - g * g))
    store(dh, 0, choose(mask, zero, h))
    store(dc, 0, choose(mask, through * f, c))


@inlined
def reset(count: int, here: Any, first: Any, h: Any, c: Any) -> None:
    """Reset the state [count] of environments whose episode starts, where `here` is 1."""
    if anywhere(here):
        for row in range(count):
            store(h, row, choose(here, spread(first, row), load(h, row)))
            store(c, row, choose(here, nothing(c), load(c, row)))


@inlined
def reset_back(count: int, here: Any, d_first: Any, h: Any, c: Any) -> None:
    """Where an episode starts, gradients go to the initial state and no further."""
    if anywhere(here):
        zero = nothing(h)
        for row in range(count):
            gradient = load(h, row)
            store(d_first, row, load(d_first, row) + choose(here, gradient, zero))
            store(h, row, choose(here, zero, gradient))
            store(c, row, choose(here, zero, load(c, row)))
