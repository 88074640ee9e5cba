"""The engine and its peers on one level: batch sizes are chosen by speed."""

from envs import bench
from envs.bench import Simulator


def test_the_fastest_batch_size_is_chosen():
    speeds = {1: 5.0, 2: 9.0, 4: 7.0}
    peer = Simulator("peer", "none", lambda level, size, device: lambda: size, (1, 2, 4), False)
    best = bench.start_best(peer, "L", peer.sizes, "cpu", lambda burst, _: speeds[burst()])
    assert best is not None
    assert best[0] == 2


def test_a_level_that_a_peer_lacks_is_left_out():
    peer = Simulator("peer", "none", lambda *_: None, (1, 2), False)
    assert bench.start_best(peer, "L", peer.sizes, "cpu", lambda *_: 1.0) is None


def test_engine_and_upstream_take_their_steps():
    """In this process; a burst returns the steps that it takes."""
    for contender in bench.contenders("MiniGrid-Empty-5x5-v0", 64, "cpu")[:2]:
        assert contender.name in ("engine", "minigrid")
        ready = contender.prepare(lambda *_: 1.0)
        assert ready is not None
        num_envs, burst = ready
        assert burst() == num_envs * bench.ACTION_SETS
