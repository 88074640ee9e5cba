"""The bonus for novelty: by hand, learnt from and not reported."""

from types import SimpleNamespace

import pytest
import torch

from metarims.algorithms.ppo import PPO
from metarims.novelty import SLOTS, nothing_seen, see, slots_of
from metarims.rollout import begin, collect_rollout

from .probes import Endless
from .small import make_agent


def at(*situations):
    """Environments whose agents are in these situations."""
    count = len(situations)
    return SimpleNamespace(
        num_envs=count, device=torch.device("cpu"), situations=torch.tensor(situations)
    )


def test_the_bonus_by_hand():
    known, no, yes = nothing_seen(at(0), True), torch.tensor([False]), torch.tensor([True])
    assert see(known, at(0), yes).item() == 0  # where it begins
    assert see(known, at(0), no).item() == 0
    assert see(known, at(1), no).item() == 1
    assert see(known, at(0), no).item() == 0
    assert see(known, at(1), no).item() == 0
    assert known.sum() == 2
    assert see(known, at(1), yes).item() == 0
    assert known.sum() == 1  # an episode begins with nothing known
    assert see(known, at(0), no).item() == 1


def test_environments_know_their_own():
    known, neither = nothing_seen(at(0, 0), True), torch.tensor([False, False])
    assert see(known, at(0, 1), neither).tolist() == [1, 1]
    assert see(known, at(1, 1), neither).tolist() == [1, 0]


def test_situations_fall_into_slots_as_by_chance():
    x, y, thing = torch.meshgrid(torch.arange(25), torch.arange(25), torch.arange(3), indexing="ij")
    situations = (x + 256 * y + 65536 * thing).flatten()
    slots = slots_of(situations)
    assert 0 <= slots.min() <= slots.max() < SLOTS
    expected = SLOTS * (1 - (1 - 1 / SLOTS) ** len(situations))
    assert len(slots.unique()) > 0.95 * expected


class Corridor(Endless):
    """Five steps long, each one place further, and observed so."""

    @property
    def situations(self):
        return self.state[:, 0]


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
