"""Probe environments: each trains to the value that is known by hand."""

import pytest
import torch

from metarims.config import TrainConfig
from metarims.evaluation import evaluate
from metarims.learner import Learner
from metarims.rollout import begin, look

from .probes import Bandit, Contexts, Endless, Recall
from .test_learner import make_agent, schedule

PRESETS = ["lstm", "rims", "metarims"]
QUICK = {
    "learning_rate": 5e-3,
    "slow_learning_rate": 5e-3,
    "minibatches": 2,
    "slow_epochs": 3,
    "slow_minibatches": 2,
}


class Forgetful(torch.nn.Module):
    """An agent that begins anew at every step."""

    def __init__(self, agent):
        super().__init__()
        self.agent = agent
        self.initial_state, self.groups = agent.initial_state, agent.groups

    def forward(self, obs, state, starts):
        return self.agent(obs, state, torch.ones_like(starts))


def trained(probe, preset, iterations, *, forgetful=False, discount=0.9, **options):
    """An agent after some iterations, and the value it gives to an episode's first step."""
    env, settings = probe(64), QUICK | options
    agent = make_agent(preset, seed=1, **settings)
    agent = Forgetful(agent) if forgetful else agent
    config = TrainConfig(
        env=("probe",), agent=preset, out="unused", num_envs=64, discount=discount, entropy=0.01
    )
    learner = Learner(agent, schedule(preset, **settings), config, env.device)
    cursor = begin(env, agent, 1)
    for _ in range(iterations):
        _, cursor = learner.iterate(env, cursor)
    return agent, look(agent, begin(env, agent, 2)).value.mean().item()


@pytest.mark.parametrize("preset", PRESETS)
def test_bandit(preset):
    agent, value = trained(Bandit, preset, 6)
    assert evaluate(agent, Bandit(64), 256).mean_return > 0.95
    assert value == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("preset", PRESETS)
def test_truncation_bootstraps(preset):
    """1 / (1 − 0.8) = 5; a truncation taken for an end would give at most Σ 0.8^t = 3.4."""
    _, value = trained(Endless, preset, 25, discount=0.8)
    assert value == pytest.approx(5.0, rel=0.1)


@pytest.mark.parametrize("preset", PRESETS)
def test_two_contexts(preset):
    agent, _ = trained(Contexts, preset, 30)
    assert evaluate(agent, Contexts(64), 256).mean_return > 3.6  # of 4


RECALL = {"discount": 0.99, "fast_span": 20, "slow_factor": 1, "slow_learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("preset", "iterations", "rate"),
    [("lstm", 40, 3e-3), ("rims", 25, 5e-3), ("metarims", 25, 5e-3)],
)
def test_delayed_recall(preset, iterations, rate):
    agent, _ = trained(Recall, preset, iterations, learning_rate=rate, **RECALL)
    assert evaluate(agent, Recall(64), 256).success_rate > 0.95


def test_delayed_recall_needs_memory():
    agent, _ = trained(Recall, "lstm", 40, forgetful=True, learning_rate=3e-3, **RECALL)
    assert evaluate(agent, Recall(64), 256).success_rate < 0.65
