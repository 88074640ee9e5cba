"""The kernels' sizes, and the memory that they work on.

Outside the kernels a span is [T·B', ...], with B' environments per step, whole tiles of sixteen.
Inside, a tile goes through its steps as rows of sixteen numbers, one for each of its environments.
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

    The last flags are 0 or 1: whether the choice goes by a given order; whether values were
    multiplied with the gates' weights ahead (value is then 0, and gains [n·gates·d] follow the
    keys); whether the tape is kept for the backward pass, or else has one step; whether the groups
    of parameters need gradients.
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
    projected [n, 3, A·e], attended [n, A, n], and before [n·d] (h before). Other factors of weights
    are recomputed in the backward pass, as the tape is too long to stay in the caches.
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
    """Likewise in a tile's working memory, forward: state, offers, a module's gains, what it reads
    [H·value], its message [A·e] and change [d], and `order` [n] of modules, by ranks and then by
    lots.
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
    """Likewise backward: gradients, the first one that of the initial state; offers again, and
    their gradients; `arrived` [n·d] from outside, `scores` [n] between modules; the factors of one
    module's weights, `given` [d + H·value or A·e], and these `turned`, transposed.
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
    """The places of the forward pass."""
    n, state = s.modules, s.modules * s.hidden
    rows = [state, state, offered(s), gained(s), s.heads * s.value]
    rows += [s.talkers * s.features, n, s.hidden]
    return Ahead(*accumulate(rows, initial=0))


@cache
def back_of(s: Sizes) -> Back:
    """The places of the backward pass."""
    n, state, talk = s.modules, s.modules * s.hidden, s.talkers * s.features
    rows = [state, state, state, state, state, talk, 3 * n * talk, n, 4 * s.hidden]
    given = max(s.hidden + s.heads * s.value, talk)
    rows += [n * s.heads * s.key, s.heads * s.value, given, whole_columns(given)]
    rows += [offered(s), gained(s), gained(s)]
    return Back(*accumulate([*rows, n * s.heads * s.slots, offered(s)], initial=0))


@for_both
def offered(s: Any) -> int:
    """How many rows the keys and values to read take: [S, H·key + H·value]."""
    count: int = s.slots * s.heads * (s.key + s.value)
    return count


@for_both
def gained(s: Any) -> int:
    """How many rows of a module's gates were multiplied ahead."""
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
    """The row where each gradient begins among a tile's, which are summed over its frames: weights
    in the layout of `add_products`, gates [n, 4·d, d + H·value], query [n, H·key, d], talk
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
    """The places for these sizes; groups of parameters that do not learn have none."""
    d, key, talk = s.hidden, s.heads * s.key, s.talkers * s.features
    modules = [products(s, 4 * d, d + s.heads * s.value), s.modules * 4 * d]
    attention = [products(s, key, d), s.modules * key]
    attention += [products(s, 3 * talk, d), products(s, d, talk)]
    rows = [each * s.modules_learn for each in modules]
    rows += [each * s.attention_learns for each in attention]
    return Learnt(*accumulate(rows, initial=0))


@for_both
def products(s: Any, height: int, width: int) -> int:
    """How many rows of lanes the sums of products [n, height, width] take."""
    count: int = s.modules * whole_rows(height) * (whole_columns(width) // WIDTH)
    return count


class Forward(NamedTuple):
    """What the forward kernel reads and fills in besides rows and parameters: ranks and lots
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
    """What the backward kernel reads and fills in: offers as in `Forward`, the gradients of its
    results, and those of offers, h and c.
    """

    offers: Any
    d_outputs: Any
    d_last: Any
    d_offers: Any
    d_h: Any
    d_c: Any


class Rows(NamedTuple):
    """Rows of both: starts [T, tiles], the tape [tiles, T, places], working memory
    [tiles, places], and for backward the sums [tiles, places of what is learnt].
    """

    starts: Any
    tape: Any
    work: Any
    sums: Any
