"""The functions that are run over a batch, as source: a launcher compiles them for its device.

Each takes one environment's record and, where it reports, the batch's arrays with its own index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .instructions import settle
from .jit import rule
from .record import NOTHING
from .rng import restore_stream
from .rules import take
from .step import step
from .world import begin, reject

MAX_ATTEMPTS = 1000  # layouts rejected in a row before an episode starts without a mission


# Functions made for a level or an observation are renamed after it before they are compiled:
# machine code from the disk cache is linked by name, and Numba makes names unique within one
# process only, so that two levels cached by two processes would be taken for one another.


@rule
def take_in_hand(e: Any) -> None:
    """Give the agent what it starts with."""
    if e.take_at_start != NOTHING:
        take(e, e.take_at_start, e.thing_at[e.take_at_start])
        e.take_at_start = NOTHING


def make_regenerate(generate: Any) -> Callable[[Any, Any], None]:
    """The function that draws a level's next layout into a record, with the level's parameters."""

    def regenerate(e: Any, params: Any) -> None:
        for _ in range(MAX_ATTEMPTS):
            begin(e)
            generate(e, *params)
            if e.x < 0:
                reject(e)  # the level placed no agent
            if e.root:
                settle(e)
            if not e.rejected:
                return
            e.rejections += 1
            restore_stream(e)
        e.given_up += 1
        e.root = 0
        e.x, e.y = max(e.x, 0), max(e.y, 0)

    regenerate.__qualname__ = f"regenerate-{generate.py_func.__module__}-{name_of(generate)}"
    return rule(regenerate)


def make_advance_one(observe: Any) -> Callable[..., None]:
    """One environment's step: act, observe, report."""

    def advance_one(
        e: Any, action: int, i: int, image: Any, direction: Any, reward: Any, ends: Any
    ) -> None:
        step(e, action)
        observe(e, image[i])
        direction[i] = e.direction
        reward[i] = e.reward
        ends[0, i] = e.terminated != 0
        ends[1, i] = e.truncated != 0

    advance_one.__qualname__ = f"advance_one-{name_of(observe)}"
    return rule(advance_one)


def make_look_one(observe: Any, settled: bool) -> Callable[..., None]:
    """One environment's observation where an episode begins or goes on: observe and report.

    What the agent starts with is still on the grid in upstream's own first observation, and in its
    hand in those of upstream's wrappers, which look once the reset is over (``settled``).
    """

    def look_one(e: Any, i: int, image: Any, direction: Any, mission: Any) -> None:
        if settled:
            take_in_hand(e)
        observe(e, image[i])
        direction[i] = e.direction
        for word in range(mission.shape[1]):
            mission[i, word] = e.mission[word]
        take_in_hand(e)

    look_one.__qualname__ = f"look_one-{settled}-{name_of(observe)}"
    return rule(look_one)


def name_of(compiled: Any) -> str:
    """The name that a compiled function goes by."""
    return str(compiled.py_func.__qualname__)
