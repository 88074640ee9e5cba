"""What the kernels are told of a span, and what memory they work on.

Others have a span as [T·B', ...], B' environments a step, whole tiles of sixteen. A tile goes
through its steps as rows of sixteen numbers, one for each of its environments.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

from ....kernels.compiling import for_both
from ....kernels.lanes import WIDTH
from ....kernels.products import whole_columns, whole_rows


class Sizes(NamedTuple):
    """Of a span: T steps of tiles of sixteen environments, and the cell's sizes.

    The flags are 0 or 1: whether the choice goes by a given order; whether what the gates get of
    the values was multiplied ahead (value is then 0, and gains [n·gates·d] come after the keys);
    whether the tape is kept for the way back, else there is one of one step; whether the groups of
    parameters want gradients.
    """

    steps: int
    tiles: int
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
    projected [n, 3, A·e], attended [n, A, n], and before [n·d] (h before). What else weights were
    multiplied with is worked out again on the way back: the tape is too long to stay in the caches.
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
    before: int
    end: int


class Ahead(NamedTuple):
    """Likewise in what a tile works with on its way: state, what is offered, a module's gains, what
    it reads [H·value], its message [A·e] and change, and `order` [n] of modules, by ranks and then
    by lots.
    """

    h: int
    c: int
    offers: int
    gains: int
    read: int
    message: int
    order: int
    change: int
    end: int


class Back(NamedTuple):
    """Likewise on its way back: gradients, the first one that of the first state; what is offered
    once more and its gradients; `arrived` [n·d] from others, `scores` [n] between modules; what
    weights of one module were multiplied with, `given` [d + H·value or A·e], and that `turned`.
    """

    first: int
    h: int
    c: int
    arrived: int
    change: int
    message: int
    projected: int
    scores: int
    gates: int
    query: int
    read: int
    given: int
    turned: int
    offers: int
    gains: int
    d_gains: int
    weights: int
    d_offers: int
    end: int


@cache
def places_of(s: Sizes) -> Places:
    """The tape's places for these sizes."""
    n, state, scores = s.modules, s.modules * s.hidden, s.modules * s.heads * s.slots
    talk = s.talkers * s.features
    rows = [4 * state, state, state, n * s.heads * s.key, scores, scores, scores, n, n, n, n, 1]
    rows += [3 * n * talk, n * s.talkers * n, state]
    return Places(*accumulate(rows, initial=0))


@cache
def ahead_of(s: Sizes) -> Ahead:
    """The places of the way forward."""
    n, state = s.modules, s.modules * s.hidden
    rows = [state, state, offered(s), gained(s), s.heads * s.value]
    rows += [s.talkers * s.features, n, s.hidden]
    return Ahead(*accumulate(rows, initial=0))


@cache
def back_of(s: Sizes) -> Back:
    """The places of the way back."""
    n, state, talk = s.modules, s.modules * s.hidden, s.talkers * s.features
    rows = [state, state, state, state, state, talk, 3 * n * talk, n, 4 * s.hidden]
    given = max(s.hidden + s.heads * s.value, talk)
    rows += [n * s.heads * s.key, s.heads * s.value, given, whole_columns(given)]
    rows += [offered(s), gained(s), gained(s)]
    return Back(*accumulate([*rows, n * s.heads * s.slots, offered(s)], initial=0))


@for_both
def offered(s: Any) -> int:
    """How many keys and values there are to read: [S, H·key + H·value]."""
    count: int = s.slots * s.heads * (s.key + s.value)
    return count


@for_both
def gained(s: Any) -> int:
    """How many numbers a module's gates get that were multiplied ahead."""
    count: int = s.ahead * s.gates * s.hidden
    return count


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


class Learnt(NamedTuple):
    """The row where the gradient of each thing begins among a tile's, of all its frames: weights as
    `add_products` adds them up, gates [n, 4·d, d + H·value], query [n, H·key, d], talk
    [n, 3·A·e, d] and listen [n, d, A·e], and biases [n·4·d] and [n·H·key] in lanes.
    """

    gates: int
    bias: int
    query: int
    query_bias: int
    talk: int
    listen: int
    end: int


@cache
def learnt_of(s: Sizes) -> Learnt:
    """Of groups of parameters that do not learn there are none."""
    d, key, talk = s.hidden, s.heads * s.key, s.talkers * s.features
    modules = [products(s, 4 * d, d + s.heads * s.value), s.modules * 4 * d]
    attention = [products(s, key, d), s.modules * key]
    attention += [products(s, 3 * talk, d), products(s, d, talk)]
    rows = [each * s.modules_learn for each in modules]
    rows += [each * s.attention_learns for each in attention]
    return Learnt(*accumulate(rows, initial=0))


@for_both
def products(s: Any, height: int, width: int) -> int:
    """How many rows of lanes the sums of products [n, height, width] are."""
    count: int = s.modules * whole_rows(height) * (whole_columns(width) // WIDTH)
    return count


class Forward(NamedTuple):
    """What the kernel forward reads and fills in beside rows and parameters: ranks and lots
    [T·B', n], offers [T·B', S, H·key + H·value] or keys and gains, h and c [B', n·d], and
    the results: h after each step [T·B', n·d], c after the last, masks and probabilities
    [T·B', n].
    """

    ranks: Any
    lots: Any
    offers: Any
    h: Any
    c: Any
    outputs: Any
    last: Any
    masks: Any
    probabilities: Any


class Backward(NamedTuple):
    """What the kernel backward reads and fills in: offers as `Forward`, the gradients of its
    results, and those of offers, h and c.
    """

    offers: Any
    d_outputs: Any
    d_last: Any
    d_offers: Any
    d_h: Any
    d_c: Any


class Rows(NamedTuple):
    """Rows of both: starts [T, tiles], the tape [tiles, T, places], memory to work with
    [tiles, places], and on the way back sums [tiles, places of what is learnt].
    """

    starts: Any
    tape: Any
    work: Any
    sums: Any
