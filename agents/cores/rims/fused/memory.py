"""The kernels' sizes, and the memory that they work on."""

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
    """What the forward kernel reads and fills in.

    Given: starts bool [T + 1, B]; ranks [T, B, n] or empty; from the input, what h is multiplied
    with for scores [T, B, n, d], what is added to scores [T, B, n], and the unweighted part in the
    gates [T, B, n, 4·d]; parameters [runs, n, ...]. Made: h after each step [T, B, n, d]; masks and
    probabilities [T, B, n]; h before each step and after the last, after resets [T + 1, B, n, d],
    and c likewise, but before resets (both given for the first step); scores and weights [T, B, n];
    gates [T, B, n, 4·d], h between dynamics and communication [T, B, n, d], queries, keys and
    values between modules [T, B, n, 3, A·e], messages [T, B, n, A·e], the logarithms of the
    normalisers of the attention between modules [T, B, n, A].
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
    """Likewise for backward: gradients of h after each step [T, B, n, d]; filled in, gradients of
    what was added to h [T, B, n, d], of messages [B, n, A·e], queries, keys and values, gates,
    scores, h before a step except through its scores [B, n, d], and h and c before each step, after
    resets, and after the last [T + 1, B, n, d].
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


GIVEN = Backward._fields[: Backward._fields.index("d_outputs")]  # as in `Forward`


class Tile(NamedTuple):
    """What a program works on at a step.

    Indices: its environments [TILE], where its run's end, and its run's first module among all
    runs'; the modules, a module's units, its message's features and one head's part of those.
    Offsets in modules, [T, B, n, ...]: of the step, of the next one, and of the step on the tape.
    Flags [TILE]: whether an episode begins at this step, and at the next.
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
    """Compile-time constants of the kernels: variants, and the padded widths of the modules, the
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
