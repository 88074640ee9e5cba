"""The bench: batch sizes are chosen by speed, rates and ratios are what they say."""

import itertools
import json
import math

import pytest

from envs import bench
from envs.bench import Contender, Simulator, Speed


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


def test_the_fastest_batch_size_is_chosen(monkeypatch):
    speeds = {1: 5.0, 2: 9.0, 4: 7.0}
    monkeypatch.setattr(bench, "time_burst", lambda burst, _: speeds[burst()])
    peer = Simulator("peer", "none", lambda level, size, device: lambda: size, (1, 2, 4), False)
    best = bench.start_best(peer, "L", peer.sizes, "cpu")
    assert best is not None
    assert best[0] == 2


def test_a_level_that_a_peer_lacks_is_left_out():
    peer = Simulator("peer", "none", lambda *_: None, (1, 2), False)
    assert bench.start_best(peer, "L", peer.sizes, "cpu") is None


def test_engine_and_upstream_are_timed_in_processes_of_their_own(monkeypatch):
    monkeypatch.setattr(bench, "SIMULATORS", bench.SIMULATORS[:2])
    speeds = bench.measure(["MiniGrid-Empty-5x5-v0"], num_envs=64, seconds=0.05, rounds=2)
    assert [speed.name for speed in speeds] == ["engine", "minigrid"]
    assert all(rate > 0 for speed in speeds for rate in speed.rounds)
    assert [len(speed.rounds) for speed in speeds] == [2, 2]


def fail_to_start():
    raise RuntimeError("on purpose")


def start_small():
    return 3, lambda: 3


def test_a_contender_that_fails_is_left_out(capfd):
    entries = [
        Contender("broken", "1", "L", fail_to_start),
        Contender("small", "1", "L", start_small),
    ]
    (speed,) = bench.race(entries, seconds=0.01, rounds=3)
    assert (speed.name, speed.num_envs, len(speed.rounds)) == ("small", 3, 3)
    assert "on purpose" in capfd.readouterr().err


def test_an_unknown_level_is_refused_before_anything_starts():
    with pytest.raises(ValueError, match="unknown level 'MiniGrid-DoorKey-8x9-v0'"):
        bench.measure(["MiniGrid-DoorKey-8x9-v0"])


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
