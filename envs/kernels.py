"""The source of the batch kernels, which each launcher compiles for its device.

Each takes one environment's record and, if it reports, its index and the batch's arrays: image
uint8 [B, V * V * 3], direction uint8 [B], mission int16 [B, L], reward float64 [B], ends bool
[2, B] (terminated, truncated).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numba import njit

from .actions import take
from .cells import CELLS
from .instructions import settle
from .jit import Compiled, compiled, is_kept
from .record import NOTHING, Record
from .rng import restore_stream
from .rules import Rule, make_step, tag_of
from .world import begin, reject

MAX_ATTEMPTS = 1000  # layouts rejected in a row before an episode starts without a mission

_ONE, _TWO = np.uint64(1), np.uint64(2)


@compiled
def take_in_hand(e: Record) -> None:
    """Give the agent the object that it starts with, if any."""
    if e.take_at_start != NOTHING:
        take(e, e.take_at_start, e.thing_at[e.take_at_start])
        e.take_at_start = NOTHING


def make_regenerate(generate: Compiled) -> Callable[[Record, Any], None]:
    """The function that draws a level's next layout into a record, given the level's parameters."""

    def regenerate(e: Record, params: Any) -> None:
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
    return compiled(regenerate)


def make_advance_one(write_view: Compiled, own: tuple[Rule, ...]) -> Callable[..., None]:
    """The function that steps one environment, by these rules too: act, observe and report."""
    step = make_step(own)

    def advance_one(
        e: Record, action: int, i: int, image: Any, direction: Any, reward: Any, ends: Any
    ) -> None:
        step(e, action)
        write_view(e, image[i])
        direction[i] = e.direction
        reward[i] = e.reward
        ends[0, i] = e.terminated != 0
        ends[1, i] = e.truncated != 0

    advance_one.__qualname__ = f"advance_one-{name_of(write_view)}{tag_of(own)}"
    return compiled(advance_one)


def make_observe_one(write_view: Compiled, settled: bool) -> Callable[..., None]:
    """The function that observes one environment, at the start of an episode or later.

    An object that the agent starts with is still on the grid in upstream's own first observation,
    but in hand in its wrappers', which observe after the reset (``settled``).
    """

    def observe_one(e: Record, i: int, image: Any, direction: Any, mission: Any) -> None:
        if settled:
            take_in_hand(e)
        write_view(e, image[i])
        direction[i] = e.direction
        for word in range(mission.shape[1]):
            mission[i, word] = e.mission[word]
        take_in_hand(e)

    observe_one.__qualname__ = f"observe_one-{settled}-{name_of(write_view)}"
    return compiled(observe_one)


def make_paint_row(view: int, tile: int, words: int, store: Callable[..., None]) -> Compiled:
    """The function that paints one row of pixels, numbered across all images.

    ``store(pixels, at, word)`` writes a word to memory in the device's best way.
    """
    agent_row, agent_column, rows = view - 1, view // 2, view * tile

    def paint_row(image: Any, row: int, sprite_of: Any, sprites: Any, pixels: Any) -> None:
        i, y, line = np.uint64(row // rows), row % rows // tile, np.uint64(row % tile)
        at = np.uint64(row * view * words)
        for x in range(view):
            code = np.uint64(3 * (x * view + y))
            kind, color, state = image[i, code], image[i, code + _ONE], image[i, code + _TWO]
            sprite = np.uint64(sprite_of[kind, color, state])
            if y == agent_row and x == agent_column:
                sprite += np.uint64(CELLS)
            for word in range(words):
                store(pixels, at, sprites[sprite, line, np.uint64(word)])
                at += _ONE

    paint_row.__qualname__ = f"paint_row-{view}-{tile}-{words}"  # see envs.jit
    return cast(Compiled, njit(paint_row, inline="always"))


def are_kept(rules: Sequence[Rule]) -> bool:
    """Whether kernels with these rules can be cached on disk, as `is_kept`."""
    return all(is_kept(function) for rule in rules for function in rule.functions)


def name_of(function: Compiled) -> str:
    """The qualified name of a compiled function."""
    return str(function.py_func.__qualname__)
