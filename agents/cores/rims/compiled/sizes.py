"""What the kernels are told of a span, and what memory they work on.

Memory is rows of sixteen numbers, one for each environment of a tile. Of a span of T steps there
are F = T · tiles frames of them: [rows, F], a step's tiles side by side, is what [rows, T·B] is to
others.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

from ....kernels.compiling import inlined
from ....kernels.rows import scatter


class Sizes(NamedTuple):
    """Of a span: T steps of tiles of sixteen environments, F frames, and the cell's sizes.

    The flags are 0 or 1: whether the choice goes by a given order; whether what the gates get of
    the values was multiplied ahead (values are then [n·gates·d, F], and value is 0); whether the
    tape is kept for the way back, else every step overwrites it; whether the groups of parameters
    want gradients.
    """

    steps: int
    tiles: int
    frames: int
    modules: int
    active: int
    hidden: int
    slots: int
    heads: int
    key: int
    value: int
    talkers: int
    features: int
    gates: int
    sparse: int
    lstm: int
    knock_out: int
    disabled: int
    ordered: int
    ahead: int
    taped: int
    modules_learn: int
    attention_learns: int


class Places(NamedTuple):
    """The row where each thing begins on the tape of one step of one tile.

    gates [n, 4·d] after their nonlinearities, memory [n·d] (c before), squashed [n·d] (tanh c, or
    GRU's candidate), query [n, H·key], weights, competing and slots [n, H, S] (softmax over modules
    and over slots), probability, share, rank, mask [n], total [1] (what shares are fractions of),
    projected [n, 3, A·e] and attended [n, A, n].
    """

    gates: int
    memory: int
    squashed: int
    query: int
    weights: int
    competing: int
    slots: int
    probability: int
    share: int
    rank: int
    mask: int
    total: int
    projected: int
    attended: int
    end: int


class Ahead(NamedTuple):
    """Likewise in what a tile works with on its way: state, and input and message of a module."""

    h: int
    c: int
    read: int
    change: int
    message: int
    end: int


class Back(NamedTuple):
    """Likewise on its way back: gradients, and `scores` [n] between modules."""

    h: int
    c: int
    change: int
    message: int
    projected: int
    scores: int
    gates: int
    query: int
    read: int
    weights: int
    key: int
    value: int
    end: int


@cache
def places_of(s: Sizes) -> Places:
    """The tape's places for these sizes."""
    n, state, scores = s.modules, s.modules * s.hidden, s.modules * s.heads * s.slots
    talk = s.talkers * s.features
    rows = [4 * state, state, state, n * s.heads * s.key, scores, scores, scores, n, n, n, n, 1]
    return Places(*accumulate([*rows, 3 * n * talk, n * s.talkers * n], initial=0))


@cache
def ahead_of(s: Sizes) -> Ahead:
    """The places of the way forward."""
    state = s.modules * s.hidden
    rows = [state, state, s.heads * s.value, s.hidden, s.talkers * s.features]
    return Ahead(*accumulate(rows, initial=0))


@cache
def back_of(s: Sizes) -> Back:
    """The places of the way back."""
    n, state, talk = s.modules, s.modules * s.hidden, s.talkers * s.features
    key, value = s.heads * s.key, s.heads * s.value
    rows = [state, state, state, talk, 3 * n * talk, n, 4 * s.hidden, n * key, value]
    rows += [n * s.heads * s.slots, s.slots * key, s.slots * value]
    return Back(*accumulate(rows, initial=0))


class Weights(NamedTuple):
    """The cell's parameters, as `agents.cores.rims.cell.RIMs` has them, or their gradients."""

    start: Any
    input: Any
    hidden: Any
    bias: Any
    query: Any
    query_bias: Any
    talk: Any
    listen: Any


class Kept(NamedTuple):
    """What weights were multiplied with: what a module read and its h before the step
    [n, H·value + d, F], h between [n·d, F], and messages [n·A·e, F].
    """

    seen: Any
    between: Any
    message: Any


class Returned(NamedTuple):
    """The gradients of what weights made of it: gates [n·4·d, F], queries [n·H·key, F], queries,
    keys and values between modules [n·3·A·e, F], what was added to h [n·d, F].
    """

    gates: Any
    query: Any
    projected: Any
    change: Any


class Forward(NamedTuple):
    """What the kernel forward reads and fills in: starts [1, F], ranks and lots [n, F], keys
    [S·H·key, F], values [S·H·value, F], h and c [n·d, tiles], what is kept, the tape [tiles, T,
    places], memory to work with [tiles, places], and the results: h after each step [n·d, F], c
    after the last, masks and probabilities [n, F].
    """

    starts: Any
    ranks: Any
    lots: Any
    keys: Any
    values: Any
    h: Any
    c: Any
    seen: Any
    between: Any
    message: Any
    tape: Any
    work: Any
    outputs: Any
    last: Any
    masks: Any
    probabilities: Any


class Backward(NamedTuple):
    """What the kernel backward reads and fills in: as `Forward`, the gradients of its results, what
    is `Returned`, and the gradients of keys, values, h, c, and the first state [n·d, tiles].
    """

    starts: Any
    keys: Any
    values: Any
    seen: Any
    tape: Any
    work: Any
    d_outputs: Any
    d_last: Any
    gates: Any
    query: Any
    projected: Any
    change: Any
    d_keys: Any
    d_values: Any
    d_h: Any
    d_c: Any
    d_first: Any


@inlined
def keep(s: Any, wanted: int, x: Any, count: int, kept: Any) -> None:
    """x [count] to where gradients of weights want it, if they are wanted."""
    if wanted:
        scatter(x, count, kept, s.frames)
