"""The race: rates and ratios are correct, and every contender has its own process."""

import itertools
import json
import math

import pytest

from metarims.studies import race as bench
from metarims.studies.race import Entry, Speed


def test_ratios_are_to_the_reference_on_the_same_level():
    fast, slow = Speed("L", "fast", "1", 8, (9.0, 8.0, 1.0)), Speed("L", "slow", "1", 8, (2.0,))
    alone = Speed("M", "fast", "1", 8, (5.0,))
    fast_over_slow, itself, unknown = bench.ratios([fast, slow, alone], "slow")
    assert (fast_over_slow, itself) == (4.0, 1.0)
    assert math.isnan(unknown)


def test_the_table_shows_medians_and_ratios():
    engine = Speed("L", "engine", "this one", 8192, (90.0, 300.0, 100.0))
    peer = Speed("L", "peer", "1.0", 16, (20.0, 10.0, 80.0))
    header, ours, theirs = bench.table([engine, peer], "engine is", [math.nan, 5.0]).splitlines()
    assert header.split()[-2:] == ["engine", "is"]
    assert ours.split() == ["L", "engine", "this", "one", "8192", "100", "90", "300"]
    assert theirs.split() == ["L", "peer", "1.0", "16", "20", "10", "80", "5.0", "x"]


def test_a_rate_is_steps_over_seconds(monkeypatch):
    clock = itertools.count(0, 2)  # every look at the clock finds it two seconds later
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert bench.time_burst(lambda: 10, seconds=5) == pytest.approx(20 / 6)


def fail_to_start(timer):
    raise RuntimeError("on purpose")


def start_small(timer):
    return 3, lambda: 3


def test_a_contender_that_fails_is_left_out(capfd):
    entries = [Entry("broken", "1", "L", fail_to_start), Entry("small", "1", "L", start_small)]
    (speed,) = bench.race(entries, seconds=0.01, rounds=3)
    assert (speed.name, speed.num_envs, len(speed.rounds)) == ("small", 3, 3)
    assert "on purpose" in capfd.readouterr().err


def test_results_are_plain_json():
    speed = Speed("L", "engine", "this one", 8, (1.0, 3.0))
    assert json.loads(json.dumps(bench.as_json([speed]))) == [
        {
            "level": "L",
            "name": "engine",
            "version": "this one",
            "num_envs": 8,
            "steps_per_second": 2.0,
            "rounds": [1.0, 3.0],
        }
    ]
