"""The record's random stream against numpy.random.Generator."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numba import njit

from envs import rng, world
from envs.cells import EMPTY, WALL
from envs.record import NOTHING, RECORD
from envs.seeding import seed_records
from envs.world import DOUBT

# Compiled rules cannot be called from Python; these can.
rand_int = njit(lambda e, low, high: rng.rand_int(e, low, high))
rand_below_or_at = njit(lambda e, highest: rng.rand_below_or_at(e, highest))
rand_float = njit(lambda e: rng.rand_float(e))
rand_bool = njit(lambda e: rng.rand_bool(e))
find_any_place = njit(
    lambda e, x, y, width, height, distance: world.find_any_place(e, x, y, width, height, distance)
)


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31 - 1, 2**40])
def test_mixed_draws_equal_numpy(seed):
    records = np.zeros(1, RECORD)
    seed_records(records, {0: seed})
    ours, theirs = records[0], np.random.default_rng(seed)
    bounds = np.random.default_rng(7).integers(1, 2**31, 300)
    for draw, high in enumerate([*range(1, 200), *bounds.tolist()]):
        assert rand_int(ours, 0, high) == theirs.integers(0, high)
        if draw % 3 == 0:
            assert rand_float(ours) == theirs.uniform(0, 1)
        if draw % 5 == 0:
            assert rand_bool(ours) == (theirs.integers(0, 2) == 0)


def test_streams_are_seeded_as_numpy_seeds_them():
    chance = random.Random(1)
    drawn = [chance.getrandbits(bits) for bits in range(1, 129) for _ in range(20)]
    seeds = [0, 1, *drawn, 2**32 - 1, 2**32, 2**64 - 1, 2**64, 2**128 - 1]
    records = np.zeros(2 * len(seeds), RECORD)
    records["has_half_word"] = 1
    seed_records(records, {2 * i: seed for i, seed in enumerate(seeds)})
    for record, seed in zip(records[::2], seeds, strict=True):
        theirs = np.random.PCG64(np.random.SeedSequence(seed)).state["state"]
        assert int(record["rng_high"]) << 64 | int(record["rng_low"]) == theirs["state"]
        assert int(record["increment_high"]) << 64 | int(record["increment_low"]) == theirs["inc"]
        assert not record["has_half_word"]
    assert not records["rng_low"][1::2].any()  # others are as they were
    assert records["has_half_word"][1::2].all()


@pytest.mark.parametrize("free", [(1, 2), None])
def test_a_search_for_a_cell_draws_on_while_there_is_one(free):
    """As upstream, which tries until it finds one; without any, it ends after some tries."""
    records = np.zeros(1, RECORD)
    seed_records(records, {0: 1})
    ours, theirs, tries = records[0], np.random.default_rng(1), 0
    ours["width"], ours["height"], ours["grid"] = 64, 64, WALL
    if free:
        ours["grid"][64 * free[1] + free[0]] = EMPTY
    found = find_any_place(ours, 0, 0, 64, 64, 1)
    while free or tries <= DOUBT:
        tries += 1
        if (theirs.integers(0, 64), theirs.integers(0, 64)) == free:
            break
    assert tries > DOUBT
    assert found == (64 * free[1] + free[0] if free else NOTHING)
    assert rand_int(ours, 0, 2**31) == theirs.integers(0, 2**31)


@pytest.mark.parametrize("corner", [(64, 0), (0, 64), (3, 3)])
def test_no_cell_is_found_off_the_grid(corner):
    records = np.zeros(1, RECORD)
    records["width"], records["height"], records["grid"] = 3, 3, EMPTY
    assert find_any_place(records[0], *corner, 4, 4, 1) == NOTHING


@pytest.mark.parametrize("length", [1, 2, 3, 8, 100])
def test_shuffle_draws_equal_numpy(length):
    records = np.zeros(1, RECORD)
    seed_records(records, {0: 3})
    ours, theirs = list(range(length)), list(range(length))
    np.random.default_rng(3).shuffle(theirs)
    for last in range(length - 1, 0, -1):
        other = rand_below_or_at(records[0], last)
        ours[last], ours[other] = ours[other], ours[last]
    assert ours == theirs


def test_an_empty_range_draws_nothing():
    records = np.zeros(1, RECORD)
    seed_records(records, {0: 0})
    before = records.copy()
    assert rand_int(records[0], 4, 5) == 4
    assert np.array_equal(records, before)


def test_a_stream_that_was_never_seeded_ends_too():
    record = np.zeros(1, RECORD)[0]
    assert rand_int(record, 0, 3) == 0
    record["rng_high"] = 2**63  # with no increment, all high bits for ever
    assert 0 <= rand_below_or_at(record, 4) <= 4
