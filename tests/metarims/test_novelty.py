"""The bonus for what is new: noted by hand, learnt from and not reported."""

from types import SimpleNamespace

import pytest
import torch

from metarims.algorithms.ppo import PPO
from metarims.novelty import SLOTS, nothing_seen, see, slots_of
from metarims.rollout import begin, collect_rollout

from .probes import Endless
from .small import make_agent


def seen(image=0, direction=0):
    return {
        "image": torch.full((1, 2, 2, 3), image, dtype=torch.uint8),
        "direction": torch.full((1,), direction, dtype=torch.uint8),
    }


def at(place=0):
    return SimpleNamespace(num_envs=1, device=torch.device("cpu"), places=torch.tensor([place]))


def test_the_bonus_by_hand():
    known, no, yes = nothing_seen(at(), True), torch.tensor([False]), torch.tensor([True])
    assert see(known, at(), seen(), yes).item() == 0  # where it begins
    assert see(known, at(), seen(), no).item() == 0
    for env, obs in ((at(1), seen()), (at(), seen(image=1)), (at(), seen(direction=1))):
        assert see(known, env, obs, no).item() == 1  # another place, view, direction
        assert see(known, env, obs, no).item() == 0
    assert known.sum() == 4
    assert see(known, at(), seen(), yes).item() == 0
    assert known.sum() == 1  # an episode begins with nothing known


def test_different_views_fall_into_different_slots():
    images = torch.randint(0, 11, (1000, 7, 7, 3), dtype=torch.uint8)
    obs = {"image": images, "direction": torch.zeros(1000, dtype=torch.uint8)}
    slots = slots_of(obs, torch.zeros(1000, dtype=torch.int64))
    assert 0 <= slots.min() <= slots.max() < SLOTS
    assert len(slots.unique()) > 0.95 * SLOTS * (1 - (1 - 1 / SLOTS) ** 1000)  # as by chance


class Corridor(Endless):
    """Five steps long, one place further with each, seen as such."""

    @property
    def places(self):
        return self.state[:, 0]

    def _observe(self):
        count = self.state[:, 0].to(torch.uint8)
        return super()._observe() | {"image": count.view(-1, 1), "direction": count}


def test_it_goes_over_rollouts_and_ends_with_the_episode():
    env, agent = Corridor(2), make_agent()
    cursor, bonuses = begin(env, agent, 1, curious=True), []
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        rollout, cursor = collect_rollout(env, agent, cursor, 4, 4, generator)
        bonuses += rollout.novelty[:, 0].tolist()
        assert torch.equal(rollout.rewards, torch.ones(4, 2))
    assert bonuses == [
        1,
        1,
        1,
        1,
        0,
        1,
        1,
        1,
    ]  # each place is new, the next episode's first is given


def test_it_is_learnt_from_at_its_weight():
    rollout = SimpleNamespace(rewards=torch.tensor([[1.0]]), novelty=torch.tensor([[0.5]]))
    assert PPO(novelty=0.1, reward_scale=2.0).rewards(rollout).item() == pytest.approx(2.05)  # type: ignore[arg-type]
    assert PPO().rewards(rollout).item() == 1.0  # type: ignore[arg-type]


def test_nothing_is_noted_where_there_is_no_bonus():
    env, agent = Endless(2), make_agent()
    cursor = begin(env, agent, 1)
    rollout, _ = collect_rollout(env, agent, cursor, 4, 4, torch.Generator())
    assert cursor.seen.shape == (2, 0)
    assert not rollout.novelty.any()
