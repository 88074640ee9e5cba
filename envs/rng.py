"""NumPy's random numbers, bit for bit, from the PCG64 stream in each record.

Sources: O'Neill (2014), PCG XSL-RR 128/64; Lemire (2019), unbiased bounded integers, as
``numpy.random.Generator`` applies them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numba import njit

from .jit import compiled
from .record import Record

_int64 = cast("Callable[[object], int]", np.int64)  # typed as an int
_LOW32 = np.uint64(0xFFFFFFFF)
_SHIFT32 = np.uint64(32)
MULTIPLIER_HIGH = np.uint64(0x2360ED051FC65DA4)
MULTIPLIER_LOW = np.uint64(0x4385DF649FCCF645)
_ONE = np.uint64(1)
_SHIFT58, _SHIFT11 = np.uint64(58), np.uint64(11)
_SIXTY_THREE, _SIXTY_FOUR = np.uint64(63), np.uint64(64)
REDRAWS = 200  # at most one draw in two is rejected, unless the stream was never seeded
_DOUBLE_STEP = 1.0 / 9007199254740992.0  # 2 ** -53


@njit(inline="always")
def multiply_high(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 bits of a 64-by-64-bit product."""
    a_low, a_high = a & _LOW32, a >> _SHIFT32
    b_low, b_high = b & _LOW32, b >> _SHIFT32
    low, first, second = a_low * b_low, a_high * b_low, a_low * b_high
    middle = (low >> _SHIFT32) + (first & _LOW32) + second
    return a_high * b_high + (first >> _SHIFT32) + (middle >> _SHIFT32)


@compiled
def next_uint64(e: Record) -> np.uint64:
    """Advance the 128-bit state by one step; returns 64 random bits."""
    low, high = e.rng_low, e.rng_high
    product_low = low * MULTIPLIER_LOW
    product_high = (
        multiply_high(low, MULTIPLIER_LOW) + high * MULTIPLIER_LOW + low * MULTIPLIER_HIGH
    )
    new_low = product_low + e.increment_low
    carry = _ONE if new_low < product_low else np.uint64(0)
    new_high = product_high + e.increment_high + carry
    e.rng_low, e.rng_high = new_low, new_high
    word, turn = new_high ^ new_low, new_high >> _SHIFT58
    turned: np.uint64 = (word >> turn) | (word << ((_SIXTY_FOUR - turn) & _SIXTY_THREE))
    return turned


@compiled
def next_uint32(e: Record) -> np.uint64:
    """32 random bits: one 64-bit word serves two draws, the low half first."""
    if e.has_half_word:
        e.has_half_word = 0
        return np.uint64(e.half_word)
    word = next_uint64(e)
    e.has_half_word = 1
    e.half_word = np.uint32(word >> _SHIFT32)
    return word & _LOW32


@compiled
def rand_int(e: Record, low: int, high: int) -> int:
    """An integer in [low, high), as ``Generator.integers``; a range of one consumes nothing."""
    if high - low <= 1:
        return _int64(low)
    span = np.uint64(high - low)
    product = next_uint32(e) * span
    if (product & _LOW32) < span:
        threshold = (_LOW32 - (span - _ONE)) % span
        for _ in range(REDRAWS):
            if (product & _LOW32) >= threshold:
                break
            product = next_uint32(e) * span
    return _int64(low) + _int64(product >> _SHIFT32)


@compiled
def rand_below_or_at(e: Record, highest: int) -> int:
    """An integer in [0, highest], as ``Generator.shuffle`` draws it: by masked rejection."""
    mask = _int64(highest)
    for shift in (1, 2, 4, 8, 16):
        mask |= mask >> shift
    for _ in range(REDRAWS):
        drawn = _int64(next_uint32(e)) & mask
        if drawn <= highest:
            return drawn
    return _int64(highest)


@compiled
def rand_float(e: Record) -> float:
    """A float in [0, 1) with 53 bits, as ``Generator.uniform(0, 1)``."""
    return np.float64(next_uint64(e) >> _SHIFT11) * _DOUBLE_STEP


@compiled
def rand_bool(e: Record) -> bool:
    """A fair coin, as upstream's ``_rand_bool``: true where the draw is 0."""
    return rand_int(e, 0, 2) == 0


@compiled
def save_stream(e: Record) -> None:
    """Save the state of the stream."""
    e.saved_high, e.saved_low = e.rng_high, e.rng_low
    e.saved_half_word, e.saved_has_half_word = e.half_word, e.has_half_word


@compiled
def restore_stream(e: Record) -> None:
    """Restore the state of the stream at ``save_stream``."""
    e.rng_high, e.rng_low = e.saved_high, e.saved_low
    e.half_word, e.has_half_word = e.saved_half_word, e.saved_has_half_word
