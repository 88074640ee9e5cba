"""Probe environments: agents learn the value that is known by hand."""

import pytest
import torch

from metarims.evaluation import evaluate
from metarims.learner import Learner
from metarims.rollout import begin, forward_step

from .probes import Bandit, Contexts, Endless, Recall
from .small import agent_of, configured

PRESETS = ["lstm", "rims", "metarims"]
QUICK = {
    "fast__learning_rate": 5e-3,
    "slow__learning_rate": 5e-3,
    "fast__minibatches": 2,
    "slow__epochs": 3,
    "slow__minibatches": 2,
}


class Forgetful(torch.nn.Module):
    """An agent that resets its state at every step."""

    def __init__(self, agent):
        super().__init__()
        self.agent, self.vocabulary = agent, agent.vocabulary
        self.initial_state, self.groups = agent.initial_state, agent.groups

    def forward(self, obs, state, starts):
        return self.agent(obs, state, torch.ones_like(starts))


def trainings(probe, preset, iterations, seed=1, *, forgetful=False, discount=0.9, **options):
    """An agent, yielded after every ten iterations."""
    env = probe(64)
    config = configured(preset, **(QUICK | {"ppo__discount": discount} | options))
    agent = agent_of(config, seed)
    agent = Forgetful(agent) if forgetful else agent
    learner = Learner(agent, config.loops, config.algorithm, seed, env.device)
    cursor = begin(env, agent, seed)
    for iteration in range(1, iterations + 1):
        _, cursor = learner.iterate(env, cursor)
        if iteration % 10 == 0:
            yield agent


def trained(probe, preset, iterations, **options):
    """An agent after some iterations, and its value of an episode's first step."""
    *_, agent = trainings(probe, preset, iterations, **options)
    return agent, forward_step(agent, begin(probe(64), agent, 2)).value.mean().item()


@pytest.mark.parametrize("preset", PRESETS)
def test_bandit(preset):
    agent, value = trained(Bandit, preset, 10)
    assert evaluate(agent, Bandit(64), 256).mean_return > 0.95
    assert value == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("preset", PRESETS)
def test_truncation_bootstraps(preset):
    """1 / (1 − 0.8) = 5; truncation as termination would give at most Σ 0.8^t = 3.4."""
    _, value = trained(Endless, preset, 30, discount=0.8)
    assert value == pytest.approx(5.0, rel=0.1)


def learns(probe, preset, score, target, limit=60, seeds=3, **options):
    """Whether one of a few seeds succeeds: a greedy policy may get stuck in a local optimum."""
    return any(
        score(evaluate(agent, probe(64), 256)) > target
        for seed in range(1, seeds + 1)
        for agent in trainings(probe, preset, limit, seed, **options)
    )


def mean_return(evaluation):
    return evaluation.mean_return


def success_rate(evaluation):
    return evaluation.success_rate


@pytest.mark.parametrize("preset", PRESETS)
def test_two_contexts(preset):
    assert learns(Contexts, preset, mean_return, 3.6)  # of 4


RECALL = {
    "discount": 0.99,
    "fast__span": 20,
    "slow__span": 20,
    "steps": 80,
    "slow__learning_rate": 1e-3,
}


@pytest.mark.parametrize(("preset", "rate"), [("lstm", 3e-3), ("rims", 5e-3), ("metarims", 5e-3)])
def test_delayed_recall(preset, rate):
    assert learns(Recall, preset, success_rate, 0.95, fast__learning_rate=rate, **RECALL)


def test_delayed_recall_needs_memory():
    options = RECALL | {"fast__learning_rate": 3e-3, "forgetful": True}
    assert not learns(Recall, "lstm", success_rate, 0.65, limit=40, seeds=1, **options)
