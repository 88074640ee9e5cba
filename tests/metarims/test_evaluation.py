"""Evaluation: a number of episodes fixed in advance."""

from itertools import islice
from typing import Any

import pytest
import torch

import envs
from metarims.errors import UsageError
from metarims.evaluation import evaluate, follow

from .probes import Bandit, Contexts, Probe, Recall
from .small import configured, make_agent


class ShortWins(Probe):
    """An episode ends at once with a reward or after 30 steps without, with equal probability."""

    length = 30

    def step(self, actions):
        lucky = self.state[:, 1] == 1
        self.state = self.state.clone()
        self.state[:, 0] = torch.where(lucky, self.length - 1, self.state[:, 0])
        return super().step(actions)

    def reward(self, count, secret, actions):
        return 1.0 * (secret == 1)

    def observe(self, count, secret):
        return torch.ones(len(count), 4)


def test_an_event_may_be_what_ends_an_episode():
    """In Fetch success is to pick up the right thing, which the last observation alone shows."""
    env = envs.make("MiniGrid-Fetch-5x5-N2-v0", 64)
    agent = configured().agent.make(env, 1)
    report = evaluate(agent, env, 64, find_events=envs.find_events)
    assert 0 < report.success_rate < 1
    assert report.share_with(succeeded=True)["carrying"] == 1.0


def test_short_episodes_are_not_favoured():
    report = evaluate(make_agent(), ShortWins(16), episodes=1000)
    low, high = report.success_ci95
    assert low < 0.5 < high
    assert report.mean_length == pytest.approx(
        30 - 29 * report.success_rate
    )  # a win takes 1 step, a loss 30


@pytest.mark.parametrize(("num_envs", "episodes"), [(4, 10), (16, 3), (5, 5)])
def test_gives_exactly_the_episodes_asked_for(num_envs, episodes):
    report: Any = evaluate(make_agent(), Contexts(num_envs), episodes=episodes).as_json()
    assert list(report) == [
        "env",
        "episodes",
        "success_rate",
        "success_ci95",
        "mean_return",
        "mean_length",
    ]
    assert report["episodes"] == episodes
    assert report["mean_length"] == 4.0
    assert report["env"] == "probe-0"
    low, high = report["success_ci95"]
    assert 0 <= low <= report["success_rate"] <= high <= 1


def test_tells_how_far_it_is():
    """Every 32 steps, in which each of 16 environments has one or two losses of 30."""
    told = []
    evaluate(make_agent(), ShortWins(16), 1000, watch=lambda given: told.append(int(given)))
    assert told[0] == 0
    assert 16 <= told[1] < 1000
    assert told == sorted(set(told))
    assert len(told) > 3


def test_the_likeliest_action_or_a_sample_at_a_temperature():
    agent = make_agent()
    with torch.no_grad():
        agent.policy[-1].bias.copy_(torch.tensor([0.0, 2.0]))
    assert evaluate(agent, Bandit(64), 400, temperature=0).mean_return == 1.0
    for temperature in (1.0, 0.5, 4.0):
        sampled = evaluate(agent, Bandit(64), 400, temperature=temperature)
        expected = torch.sigmoid(torch.tensor(2.0 / temperature)).item()
        low, high = sampled.success_ci95
        assert low < expected < high
        again = evaluate(agent, Bandit(64), 400, temperature=temperature)
        assert again.as_json() == sampled.as_json()
    with pytest.raises(UsageError, match="temperature must lie between 0 and inf, got -1"):
        evaluate(agent, Bandit(64), 400, temperature=-1)


def test_one_level_at_a_time():
    with pytest.raises(UsageError, match="one level at a time, got probe-0, probe-1"):
        evaluate(make_agent(), Recall(4, tasks=2), episodes=1)
    with pytest.raises(UsageError, match="episodes must be positive, got 0"):
        evaluate(make_agent(), Recall(4), episodes=0)


def test_following_an_agent_shows_what_an_evaluation_counts():
    """Greedily, so that both take the same actions: the first episode of every environment."""
    env = envs.make("MiniGrid-DoorKey-5x5-v0", 32)
    agent = configured().agent.make(env, 1)
    report = evaluate(agent, env, 32, seed=7, temperature=0)
    agent.train()
    returns, lengths = torch.zeros(32), torch.zeros(32)
    ongoing = torch.ones(32, dtype=torch.bool)
    begun = []
    for moment in islice(follow(agent, env, seed=7, temperature=0), 250):  # an episode's limit
        begun.append(moment.cursor.starts)
        assert agent.training
        assert torch.equal(moment.action, moment.output.logits[0].argmax(-1))
        returns += moment.step.reward * ongoing
        lengths += ongoing
        ongoing &= ~(moment.step.terminated | moment.step.truncated)
    assert not ongoing.any()
    assert sorted(returns.tolist()) == pytest.approx(sorted(report.returns.tolist()))
    assert sorted(lengths.tolist()) == sorted(report.lengths.tolist())
    assert begun[0].all()
    assert not begun[1].any()


def test_following_an_agent_draws_its_actions_by_the_seed():
    def actions(seed, temperature):
        env = envs.make("MiniGrid-DoorKey-5x5-v0", 8)
        agent = configured().agent.make(env, 1)
        steps = islice(follow(agent, env, seed, temperature), 20)
        return torch.stack([moment.action for moment in steps])

    assert torch.equal(actions(1, 1.0), actions(1, 1.0))
    assert not torch.equal(actions(1, 1.0), actions(2, 1.0))
    assert len(actions(1, 5.0).unique()) > len(actions(1, 0.0).unique())
    with pytest.raises(UsageError, match="temperature"):
        actions(1, -1.0)
