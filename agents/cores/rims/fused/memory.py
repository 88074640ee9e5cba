"""What the kernels are told of a span, and what memory they work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from triton import next_power_of_2

from ....kernels.fusing import widened

if TYPE_CHECKING:
    from ..config import RIMsConfig


class Sizes(NamedTuple):
    """Of a span: T and runs · B; and of the cell: n, k, d, A and e."""

    steps: int
    batch: int
    modules: int
    active: int
    hidden: int
    talkers: int
    features: int


class Forward(NamedTuple):
    """What the kernel forward reads and fills in.

    Given: starts bool [T + 1, B], ranks [T, B, n] or empty; of the input what scores are products
    of [T, B, n, d] and what is added to them [T, B, n], and what gates get [T, B, n, 4·d];
    parameters, [runs, n, ...]. Made: h after each step [T, B, n, d]; masks and probabilities
    [T, B, n]; h before each step, after resets, and after the last [T + 1, B, n, d], c before
    resets likewise (of the first step they are given); scores and weights [T, B, n]; gates
    [T, B, n, 4·d], h between dynamics and communication [T, B, n, d], queries, keys and values
    between modules [T, B, n, 3, A·e], messages [T, B, n, A·e], the logarithms of what attention
    between modules is divided by [T, B, n, A].
    """

    starts: Any
    ranks: Any
    asked: Any
    offset: Any
    gains: Any
    start: Any
    weight: Any
    bias: Any
    talk: Any
    listen: Any
    outputs: Any
    masks: Any
    probabilities: Any
    before: Any
    cells: Any
    scores: Any
    weights: Any
    gates: Any
    between: Any
    projected: Any
    messages: Any
    totals: Any


class Backward(NamedTuple):
    """Likewise backward: gradients of h after each step [T, B, n, d], and what is filled in:
    gradients of what was added to h [T, B, n, d], messages [B, n, A·e], queries, keys and values,
    gates, scores; h before a step but for what comes by its scores [B, n, d]; and h and c before
    each step, after resets, and after the last [T + 1, B, n, d].
    """

    starts: Any
    ranks: Any
    asked: Any
    gains: Any
    weight: Any
    talk: Any
    listen: Any
    cells: Any
    gates: Any
    projected: Any
    messages: Any
    totals: Any
    scores: Any
    d_outputs: Any
    d_change: Any
    d_message: Any
    d_projected: Any
    d_gates: Any
    d_scores: Any
    d_partly: Any
    d_states: Any
    d_cells: Any


GIVEN = Backward._fields[: Backward._fields.index("d_outputs")]  # as `Forward` has them


class Tile(NamedTuple):
    """What a program works on, at a step.

    Indices: the environments [TILE], where its run's end, and its run's first module among all
    runs'; the modules, a module's units, its message's numbers and one head's part of those. Places
    of the step: how many modules of how many environments come before it in [T, B, n, ...], before
    the next one, and before it on the tape. Flags [TILE]: whether an episode begins here, and
    whether one does at the next step.
    """

    own: Any
    end: Any
    first: Any
    each: Any
    units: Any
    words: Any
    part: Any
    now: Any
    after: Any
    kept: Any
    begins: Any
    ends: Any


def kinds_of(config: RIMsConfig) -> dict[str, int]:
    """What the kernels are compiled for: variants, and how wide tensors are that hold modules, the
    units of one, its message, and one head's part of that.
    """
    message = config.communication_heads * config.communication_key
    return {
        "sparse": config.attention == "sparse",
        "ordered": config.choice != "top",
        "wide_n": max(2, next_power_of_2(config.modules)),
        "wide_d": widened(config.hidden),
        "wide_m": widened(message),
        "wide_e": next_power_of_2(config.communication_key),
    }
