"""The routing policy: decisions come again when learning, levels find their own router."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import agents
from agents.routing.makers import MAKERS, DecisionMaker
from agents.routing.policy import uniform
from metarims.errors import UsageError
from metarims.learner import Learner
from metarims.ppo import log_prob_of
from metarims.rollout import begin, collect_rollout, cut
from tests.metarims.probes import Contexts, Linear
from tests.metarims.test_learner import CONFIG, moved, schedule, snapshot

OPTIONS: dict[str, Any] = {"features": 16, "lstm_hidden": 8, "fast_span": 5, "blocks": 3}
OPTIONS |= {"maker": "ppo", "layout": "depth", "router": "approximator"}
TABLE = {"router": "table", "layout": "task", "meta": "task"}
LAYOUTS = [
    {"layout": "single"},
    {"layout": "dispatched", "agents": 2},
    {"layout": "task", "meta": "task"},
    {"recursive": True, "skip": True, "recurrent": False, "squash": 1.0, "collaboration": -0.5},
]


def make_agent(env, **options) -> Any:
    agent: Any = agents.make("routing", env, OPTIONS | options, 1)
    torch.manual_seed(1)
    agent.encoder = Linear(env.seen, 16)
    return agent


def make_maker_agent(env, maker):
    return make_agent(env, maker=maker, **(TABLE if MAKERS[maker].tabular else {}))


def collected(env, agent):
    """A rollout's spans to learn from."""
    generator = torch.Generator().manual_seed(1)
    rollout, _ = collect_rollout(env, agent, begin(env, agent, 1), 10, 5, generator)
    return cut(rollout, rollout.rewards, rollout.values, 10)


@pytest.mark.parametrize("options", LAYOUTS)
def test_the_ratio_is_one_before_any_step(options):
    env = Contexts(8, tasks=2)
    agent = make_agent(env, **options)
    spans = collected(env, agent)
    output = agent(spans.obs, spans.state, spans.starts)
    log_probs = log_prob_of(output.logits.log_softmax(-1), spans.actions)
    torch.testing.assert_close(log_probs, spans.log_probs)
    torch.testing.assert_close(output.replay["route"], spans.obs["route"])


@pytest.mark.parametrize("maker", MAKERS)
def test_decisions_are_replayed_after_the_router_has_changed(maker):
    env = Contexts(8, tasks=2)
    agent = make_maker_agent(env, maker)
    spans = collected(env, agent)
    assert spans.obs["route"].shape == (10, 8, 2)
    assert len(spans.obs["route"].unique()) == 3
    with torch.no_grad():
        for parameter in agent.network.router_parameters():
            parameter.add_(torch.randn_like(parameter))
    output = agent(spans.obs, spans.state, spans.starts)
    assert torch.equal(output.replay["route"], spans.obs["route"])
    mask = output.diagnostics["module_mask"]
    assert torch.equal(mask.int().argmax(-1), spans.obs["route"])


@pytest.mark.parametrize("maker", MAKERS)
def test_every_maker_learns_by_the_same_trainer(maker):
    env = Contexts(8, tasks=2)
    agent = make_maker_agent(env, maker)
    before = snapshot(agent)
    learner = Learner(agent, schedule("routing", **OPTIONS), CONFIG, env.device)
    learner.iterate(env, begin(env, agent, 1))
    assert "attention" in moved(agent, before)
    assert all(torch.isfinite(parameter).all() for parameter in agent.parameters())


@pytest.mark.parametrize("maker", ["wpl", "gumbel", "baseline"])
def test_a_router_that_the_loop_does_not_learn_stays(maker):
    env = Contexts(8, tasks=2)
    agent = make_maker_agent(env, maker)
    before = snapshot(agent)
    frozen = schedule("routing", **OPTIONS)
    (loop,) = frozen.loops
    groups = ("encoder", "modules", "policy", "value")
    frozen = replace(frozen, loops=(replace(loop, groups=groups),))
    Learner(agent, frozen, CONFIG, env.device).iterate(env, begin(env, agent, 1))
    assert moved(agent, before) == set(groups)


def test_levels_keep_their_router_wherever_they_are_evaluated():
    both, second = Contexts(2, tasks=2), Contexts(2)
    second.level_ids = both.level_ids[1:]
    agent: Any = agents.make("routing", second, OPTIONS | TABLE, levels=both.level_ids)
    agent.encoder = Linear(second.seen, 16)
    with torch.no_grad():  # the second level's router always takes block 2
        agent.network.decider.table[1, :, 2] = 50.0
    spans = collected(second, agent)
    assert (spans.obs["route"] == 2).all()
    second.level_ids = ["elsewhere"]
    with pytest.raises(UsageError, match="routing by task knows no elsewhere; it knows probe-0"):
        agents.make("routing", second, OPTIONS | TABLE, levels=both.level_ids)


def test_the_verb_is_the_missions_first_word():
    env = Contexts(2)
    env.vocabulary_size = 9
    agent = make_agent(env, meta="verb", layout="task", router="table")
    with torch.no_grad():
        agent.network.decider.table[[5, 7], :, [0, 2]] = 50.0
    obs = {
        "features": torch.ones(1, 2, env.seen),
        "mission": torch.tensor([[[5, 2, 0], [7, 2, 1]]], dtype=torch.int16),
    }
    output = agent(obs, agent.initial_state(2), torch.zeros(1, 2, dtype=torch.bool))
    assert output.replay["route"].tolist() == [[[0, 0], [2, 2]]]


def test_streams_are_uniform_and_go_on_where_they_were():
    draws = torch.arange(50) << 32
    numbers = uniform(draws, 40, (3, 1, 4))
    assert torch.equal(numbers[7:], uniform(draws + 7, 33, (3, 1, 4)))
    assert len(numbers.unique()) > 0.99 * numbers.numel()
    shares = torch.histc(numbers, 10, 0, 1) / numbers.numel()
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.01, rtol=0)


class First(DecisionMaker):
    """Always the first block: all that a decision maker of one's own takes."""

    def learn(self, trace):
        return trace.scores.sum() * 0

    def choose(self, scores, noise):
        return torch.zeros(len(scores), dtype=torch.int64)


def test_a_decision_maker_is_one_class_and_one_row(monkeypatch):
    monkeypatch.setitem(MAKERS, "first", First)
    env = Contexts(8, tasks=2)
    agent = make_agent(env, maker="first")
    learner = Learner(agent, schedule("routing", **OPTIONS), CONFIG, env.device)
    iteration, _ = learner.iterate(env, begin(env, agent, 1))
    assert not iteration.rollouts[0].obs["route"].any()
    assert len(set(MAKERS.values())) == len(MAKERS)
