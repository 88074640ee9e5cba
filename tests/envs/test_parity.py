"""A short ``python -m tests.parity`` on every level, and proof that the drivers find faults."""

import dataclasses

import pytest

import envs
from envs.registry import LEVELS
from tests.parity import compare_bot, compare_jumps, compare_walks, run

BABYAI = [id for id in envs.levels() if id.startswith("BabyAI-")]
CORNER = "MiniGrid-Empty-5x5-v0"


@pytest.mark.parametrize("id", envs.levels())
def test_random_walks_equal_upstream(id):
    report = run(lambda: compare_walks(id, seeds=4, episodes=2, steps=50))
    assert not report.differences, report.differences[0]
    assert report.transitions > 0, report.skipped


@pytest.mark.parametrize("id", BABYAI)
def test_the_bot_succeeds_alike(id):
    report = run(lambda: compare_bot(id, seeds=2))
    assert not report.differences, report.differences[0]
    assert report.successes + len(report.skipped) == 2


def one_level_a_function():
    return sorted({level.generate: id for id, level in LEVELS.items()}.values())


@pytest.mark.parametrize("id", one_level_a_function())
def test_random_acts_before_objects_equal_upstream(id):
    report = run(lambda: compare_jumps(id, seeds=4, steps=60))
    assert not report.differences, report.differences[0]
    assert report.transitions > 0, report.skipped


class Faulty:
    """The engine with one field of one environment changed at one step."""

    def __init__(self, env, at, fault):
        self.env, self.at, self.fault = env, at, fault

    def __getattr__(self, name):
        return getattr(self.env, name)

    def step(self, actions):
        step = self.env.step(actions)
        self.at -= 1
        return self.fault(step) if self.at == 0 else step


def lose_reward(step):
    step.reward[1] += 0.25
    return step


def end_early(step):
    return dataclasses.replace(step, truncated=~step.truncated)


def turn(step):
    obs = {**step.obs, "direction": (step.obs["direction"] + 1) % 4}
    return dataclasses.replace(step, obs=obs)


def shift_view(step):
    step.obs["image"][1, 3, 5] += 1
    return step


def say_otherwise(step):
    return dataclasses.replace(step, obs={**step.obs, "mission": step.obs["mission"].flip(1)})


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        (lose_reward, "reward"),
        (end_early, "truncated"),
        (turn, "direction"),
        (shift_view, "image"),
        (say_otherwise, "mission"),
    ],
)
def test_the_driver_finds_a_fault(fault, field):
    def make(*args, **kwargs):
        return Faulty(envs.make(*args, **kwargs), 9, fault)

    report = compare_walks(CORNER, seeds=2, episodes=1, steps=20, make=make)
    assert report.differences
    for difference in report.differences:
        assert f"9 steps and resets in: {field}" in difference


def test_the_driver_finds_another_stream():
    """Environments with a seed off by one differ from upstream at once."""

    class OneOff(Faulty):
        def reset(self, seed):
            return self.env.reset(seed + 1)

    def make(*args, **kwargs):
        return OneOff(envs.make(*args, **kwargs), 0, None)

    report = compare_walks("MiniGrid-FourRooms-v0", seeds=3, episodes=1, steps=5, make=make)
    assert len(report.differences) == 3
