"""Episodes count where they began: by hand, and on a mixture with a known success rate."""

import math
import random
from types import SimpleNamespace

import torch

from metarims.tally import MEANS, WINDOW, Tally, has_reached, with_tasks


def rollout(steps, envs, episodes):
    """Episodes of task 0 unless they have five numbers."""
    rows = torch.tensor([[*own, 0.0][:5] for own in episodes], dtype=torch.float64).view(-1, 5)
    return SimpleNamespace(rewards=torch.zeros(steps, envs), episodes=rows)


def at(*running):
    return SimpleNamespace(so_far=torch.tensor([[0.0] * len(running), running]).double())


def test_the_short_ones_wait_for_the_long_ones_that_began_before_them():
    """One environment succeeds every three steps, the other fails after ten."""
    short = [[1.0, 3.0, 1.0, 0.0], [1.0, 3.0, 1.0, 3.0]]
    tally = Tally().after([rollout(7, 2, short)], at(1.0, 7.0), 0.5)
    assert (tally.frames, tally.steps, tally.episodes, len(tally.recent)) == (14, 7, 2, 0)
    assert math.isnan(tally.success_rate)
    assert not has_reached(tally.row(["A"]), 0.1)
    later = [[1.0, 3.0, 1.0, -1.0], [0.0, 10.0, 0.0, -7.0]]  # counted from step 7 on
    tally = tally.after([rollout(3, 2, later)], at(1.0, 0.0), 0.5)
    assert tally.recent[:, 3].tolist() == [0.0, 0.0, 3.0, 6.0]
    assert tally.success_rate == 0.75
    assert (tally.seconds, tally.episodes, len(tally.waiting)) == (1.0, 4, 0)


def test_rollouts_of_one_iteration_follow_each_other():
    first = rollout(5, 1, [[0.0, 5.0, 0.0, 0.0]])
    second = rollout(5, 1, [[1.0, 2.0, 1.0, 0.0]])
    tally = Tally().after([first, second], at(3.0), 0.0)
    assert tally.recent[:, 3].tolist() == [0.0, 5.0]


def test_a_target_is_reached_by_a_whole_window():
    tally = Tally()
    for _ in range(WINDOW):
        assert not has_reached(tally.row(["A"]), 0.9)
        tally = tally.after([rollout(1, 1, [[1.0, 1.0, 1.0, 0.0]])], at(0.0), 0.0)
    assert tally.steps == WINDOW
    assert has_reached(tally.row(["A"]), 1.0)


def test_several_levels_are_learnt_when_each_is_however_short_its_episodes():
    """Task 0's episodes last one step and succeed; task 1's last ten, and succeed every other time
    at first, then always.
    """
    levels, tally = ["Short", "Long"], Tally(tasks=2)
    for n in range(3 * WINDOW):
        short = [[1.0, 1.0, 1.0, float(t), 0.0] for t in range(10)]
        won = float(n % 2 or n >= WINDOW)
        tally = tally.after(
            [rollout(10, 2, [*short, [won, 10.0, won, 0.0, 1.0]])], at(0.0, 0.0), 0.0
        )
        row = tally.row(levels)
        assert row["rollout/window"] == min(n + 1, WINDOW)
        assert row["rollout/Short/success_rate"] == 1
        assert has_reached(row, 0.9) == (n >= 358)  # failures 160, 162 ... 198 of 200 are left
        if n == WINDOW - 1:
            assert row["rollout/Long/success_rate"] == 0.5
            assert row["rollout/success_rate"] == 0.75
    assert len(tally.recent) == 2 * WINDOW
    assert tally.is_fair()


def test_the_first_success_rate_is_a_fair_one():
    """Half of the episodes succeed after two steps, the others fail after forty."""
    draw, tally, ended = random.Random(0), Tally(), []
    wins, ages = [draw.random() < 0.5 for _ in range(64)], [0] * 64
    while len(tally.recent) < 60:
        episodes = []
        for t in range(10):
            for i in range(64):
                ages[i] += 1
                if ages[i] == (2 if wins[i] else 40):
                    episodes.append([float(wins[i]), ages[i], float(wins[i]), t + 1 - ages[i]])
                    wins[i], ages[i] = draw.random() < 0.5, 0
        tally = tally.after([rollout(10, 64, episodes)], at(*map(float, ages)), 0.0)
        ended += [won for won, *_ in episodes]
        if tally.steps == 30:
            assert all(ended)  # the short ones end first, and do not count yet
            assert not len(tally.recent)
    assert 0.35 < tally.success_rate < 0.65


def test_means_of_a_task_are_of_its_episodes_in_the_window():
    episodes = [[1.0, 3.0, 1.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0, 2.0], [0.5, 5.0, 1.0, 0.0, 2.0]]
    tally = Tally(tasks=3).after([rollout(9, 3, episodes)], at(0.0, 0.0, 0.0), 0.0)
    assert tally.means() == dict(zip(MEANS, (0.5, 17 / 3, 2 / 3), strict=True))
    assert tally.means([0]) == dict(zip(MEANS, (1.0, 3.0, 1.0), strict=True))
    assert tally.means([2]) == dict(zip(MEANS, (0.25, 7.0, 0.5), strict=True))
    assert tally.means([0, 2]) == tally.means()
    assert tally.means([1]) == Tally().means() == {}


def test_episodes_of_earlier_checkpoints_are_of_the_first_task():
    before = torch.rand(3, 4, dtype=torch.float64)
    tally = Tally(recent=with_tasks(before))
    assert torch.equal(tally.recent[:, :4], before)
    assert len(tally.means()) == 3
    assert tally.means([0]) == tally.means()
    assert torch.equal(with_tasks(tally.recent), tally.recent)
