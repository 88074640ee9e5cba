"""NumPy's seeding, bit for bit, for many random streams at once.

Sources: O'Neill (2015), "Developing a seed_seq alternative", and (2014), PCG XSL-RR 128/64, as
``numpy.random.SeedSequence`` and ``PCG64`` apply them.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .rng import MULTIPLIER_HIGH, MULTIPLIER_LOW, multiply_high

Seeds = int | Sequence[int | None]

SEED_END = 2**128  # exclusive: what a pool of four words takes in
_MIX_LEFT, _MIX_RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)
_SHIFT16 = np.uint32(16)
_ONE, _SHIFT32, _SIXTY_THREE = np.uint64(1), np.uint64(32), np.uint64(63)


class _Wide(NamedTuple):
    """128-bit numbers as two halves, uint64 [seeds] each."""

    high: np.ndarray
    low: np.ndarray


def spread_seeds(seed: Seeds, count: int) -> list[int | None]:
    """Each environment's seed as one of Python's integers, s + i for a single seed s.

    Raises:
        ValueError: too few or many seeds, or one out of range.
    """
    if isinstance(seed, int | np.integer):
        seeds: list[int | None] = [int(seed) + i for i in range(count)]
    else:
        seeds = [None if s is None else operator.index(s) for s in seed]
    if len(seeds) != count:
        raise ValueError(f"expected {count} seeds, one per environment, got {len(seeds)}")
    if bad := [s for s in seeds if s is not None and not 0 <= s < SEED_END]:
        raise ValueError(f"seeds must lie between 0 and 2**128 - 1, got {bad[0]}")
    return seeds


def fill_seeds(seed: Seeds | None, base: int) -> Seeds:
    """A seed for every environment: base + i for environment i where none is given."""
    if seed is None:
        return base
    if isinstance(seed, int | np.integer):
        return seed
    return [base + i if s is None else s for i, s in enumerate(seed)]


def seed_records(records: np.ndarray, seeds: Mapping[int, int]) -> None:
    """Seed the streams of some records, given by index, as ``gymnasium`` does.

    That is ``PCG64(SeedSequence(seed))``, for seeds in [0, `SEED_END`).
    """
    words = [[seed >> shift & 0xFFFFFFFF for seed in seeds.values()] for shift in (0, 32, 64, 96)]
    start_high, start_low, stream_high, stream_low = _generate(np.array(words, np.uint32))
    increment = _Wide(stream_high << _ONE | stream_low >> _SIXTY_THREE, stream_low << _ONE | _ONE)
    begun = _add(increment, _Wide(start_high, start_low))
    state = _add(_times_multiplier(begun), increment)
    rows = list(seeds)
    records["rng_high"][rows], records["rng_low"][rows] = state
    records["increment_high"][rows], records["increment_low"][rows] = increment
    records["has_half_word"][rows] = 0


def _generate(words: np.ndarray) -> np.ndarray:
    """``SeedSequence(seed).generate_state(4, uint64)`` for each seed.

    Args:
        words: uint32 [4, seeds], the seeds' 128 bits, lowest word first.

    Returns:
        uint64 [4, seeds].
    """
    hashed = _hasher(0x43B0D7E5, 0x931E8875)
    pool = [hashed(word) for word in words]
    for source, target in itertools.permutations(range(4), 2):
        mixed: np.ndarray = _MIX_LEFT * pool[target] - _MIX_RIGHT * hashed(pool[source])
        pool[target] = mixed ^ mixed >> _SHIFT16
    hashed = _hasher(0x8B51F9DD, 0x58F38DED)
    halves = np.array([hashed(word) for word in (*pool, *pool)]).astype(np.uint64)
    return halves[::2] | halves[1::2] << _SHIFT32


def _hasher(key: int, factor: int) -> Callable[[np.ndarray], np.ndarray]:
    """A hash function of uint32 words that advances its key with each call."""
    powers = itertools.accumulate(itertools.repeat(factor), initial=key, func=_times32)
    keys = itertools.pairwise(map(np.uint32, powers))

    def hashed(word: np.ndarray) -> np.ndarray:
        now, following = next(keys)
        product = (word ^ now) * following
        return product ^ product >> _SHIFT16

    return hashed


def _times32(a: int, b: int) -> int:
    return a * b % 2**32


def _add(a: _Wide, b: _Wide) -> _Wide:
    low = a.low + b.low
    return _Wide(a.high + b.high + (low < b.low), low)


def _times_multiplier(a: _Wide) -> _Wide:
    """PCG's step without the increment."""
    carried = multiply_high.py_func(a.low, MULTIPLIER_LOW)
    high = carried + a.high * MULTIPLIER_LOW + a.low * MULTIPLIER_HIGH
    return _Wide(high, a.low * MULTIPLIER_LOW)
