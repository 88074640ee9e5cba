"""The routing core: decisions come again when learning, levels find their own router."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from agents.cores.routing import RoutingConfig
from agents.cores.routing.core import uniform
from agents.cores.routing.makers import MakerConfig
from agents.policy import PolicyConfig
from metarims.algorithms.ppo import PPO
from metarims.config import RunConfig
from metarims.errors import UsageError
from metarims.evaluation import evaluate, seeded
from metarims.learner import Learner
from metarims.losses import log_prob_of
from metarims.registry import find, names
from metarims.rollout import begin, collect_rollout, exploiting
from metarims.sequences import cut
from metarims.settings import replace_at
from tests.metarims.probes import Contexts, Linear
from tests.metarims.test_learner import moved, snapshot

MAKERS = names("decision maker")
OPTIONS: dict[str, Any] = {"maker": "ppo", "layout": "depth", "policy": "approximator"}
OPTIONS |= {"features": 16, "hidden": 8, "blocks": 3}
TABLE = {"policy": "table", "layout": "task", "meta": "task"}
LAYOUTS = [
    {"layout": "single"},
    {"layout": "dispatched", "routing_agents": 2},
    {"layout": "task", "meta": "task"},
    {"recursive": True, "skip": True, "recurrent": False, "squash": 1.0, "collaboration": -0.5},
]


def configured(**options):
    """The routing preset, small: of its core, router and encoder whose field it is."""
    core = {name for name in options if name in RoutingConfig.__dataclass_fields__}
    paths = {
        name: f"core.{name}" if name in core else f"core.router.{name}" for name in options
    } | {"features": "encoder.features", "hidden_state": "hidden_state"}
    config = cast(RunConfig, find("preset", "routing"))
    changes = {paths[name]: value for name, value in options.items()}
    return replace_at(config, changes | {"fast.span": 5, "steps": 20})


def make_agent(env, levels=(), **options) -> Any:
    agent: Any = configured(**OPTIONS | options).agent.make(env, 1, levels)
    torch.manual_seed(1)
    agent.encoder = Linear(env.seen, 16)
    return agent


def make_maker_agent(env, maker):
    tabular = cast(type[MakerConfig], find("decision maker", maker)).tabular
    return make_agent(env, maker=maker, **(TABLE if tabular else {}))


def learner_of(agent, env, loops=None):
    return Learner(agent, loops or configured().loops, PPO(), 1, env.device)


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
        for parameter in agent.core.network.router_parameters():
            parameter.add_(torch.randn_like(parameter))
    output = agent(spans.obs, spans.state, spans.starts)
    assert torch.equal(output.replay["route"], spans.obs["route"])
    mask = output.diagnostics["module_mask"]
    assert torch.equal(mask.int().argmax(-1), spans.obs["route"])


@pytest.mark.parametrize("maker", MAKERS)
def test_in_evaluation_every_maker_takes_the_best(maker):
    """However much it explores while it learns; the reported policy does not explore either."""
    env = Contexts(8, tasks=2)
    agent = make_maker_agent(env, maker)
    decider = agent.core.network.decider
    with torch.no_grad():
        for parameter in decider.source.parameters():
            parameter.copy_(torch.randn_like(parameter).softmax(-1))
    rollout, _ = collect_rollout(env, agent, begin(env, agent, 1), 50, 50, seeded(env.device, 1))
    with exploiting(agent):
        assert not agent.training
        tested, _ = collect_rollout(env, agent, begin(env, agent, 1), 50, 50, seeded(env.device, 1))
    assert agent.training
    best = tested.diagnostics["module_probabilities"].argmax(-1)
    assert torch.equal(tested.diagnostics["module_mask"].int().argmax(-1), best)
    best = rollout.diagnostics["module_probabilities"].argmax(-1)
    assert not torch.equal(rollout.diagnostics["module_mask"].int().argmax(-1), best)


def test_an_evaluation_takes_the_best_and_then_goes_on_exploring():
    env = Contexts(8)
    agent = make_agent(env)
    modes = []
    agent.core.register_forward_hook(lambda module, *_: modes.append(module.training))
    evaluate(agent, env, 8)
    assert set(modes) == {False}
    assert agent.training


@pytest.mark.parametrize("maker", MAKERS)
def test_every_maker_learns_by_the_same_trainer(maker):
    env = Contexts(8, tasks=2)
    agent = make_maker_agent(env, maker)
    before = snapshot(agent)
    learner_of(agent, env).iterate(env, begin(env, agent, 1))
    assert "attention" in moved(agent, before)
    assert all(torch.isfinite(parameter).all() for parameter in agent.parameters())


@pytest.mark.parametrize("maker", ["wpl", "gumbel", "baseline"])
def test_a_router_that_the_loop_does_not_learn_stays(maker):
    env = Contexts(8, tasks=2)
    agent = make_maker_agent(env, maker)
    before = snapshot(agent)
    loops = configured().loops
    groups = ("encoder", "modules", "policy", "value")
    frozen = replace(loops, fast=replace(loops.fast, groups=groups))
    learner_of(agent, env, frozen).iterate(env, begin(env, agent, 1))
    assert moved(agent, before) == set(groups)


def test_levels_keep_their_router_wherever_they_are_evaluated():
    both, second = Contexts(2, tasks=2), Contexts(2)
    second.level_ids = both.level_ids[1:]
    agent = make_agent(second, both.level_ids, **TABLE)
    with torch.no_grad():  # the second level's router always takes block 2
        agent.core.network.decider.table[1, :, 2] = 50.0
    spans = collected(second, agent)
    assert (spans.obs["route"] == 2).all()
    second.level_ids = ["elsewhere"]
    with pytest.raises(UsageError, match="routing by task has no task elsewhere; it has probe-0"):
        make_agent(second, both.level_ids, **TABLE)


def test_the_verb_is_the_missions_first_word():
    env = Contexts(2)
    env.vocabulary = [*"abcdefghi"]
    agent = make_agent(env, meta="verb", layout="task", policy="table")
    with torch.no_grad():
        agent.core.network.decider.table[[5, 7], :, [0, 2]] = 50.0
    obs = {
        "features": torch.ones(1, 2, env.seen),
        "mission": torch.tensor([[[5, 2, 0], [7, 2, 1]]], dtype=torch.int16),
    }
    output = agent(obs, agent.initial_state(2), torch.zeros(1, 2, dtype=torch.bool))
    assert output.replay["route"].tolist() == [[[0, 0], [2, 2]]]


def test_streams_are_uniform_and_go_on_where_they_were():
    streams = torch.arange(50) << 32
    numbers = uniform(streams, 40, (3, 1, 4))
    assert torch.equal(numbers[7:], uniform(streams + 7, 33, (3, 1, 4)))
    assert len(numbers.unique()) > 0.99 * numbers.numel()
    shares = torch.histc(numbers, 10, 0, 1) / numbers.numel()
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.01, rtol=0)


def test_uniform_numbers_stay_below_one():
    """Where an index is drawn with them, 1 would be beyond the end."""
    highest = uniform(torch.tensor([2187759]), 1, (1, 1, 2)).max()
    assert 1 - 1e-6 < highest < 1


def test_without_an_lstm_nothing_is_remembered():
    env = Contexts(2)
    agent = make_agent(env, recurrent=False)
    assert agent.core.outputs == 16
    (streams,) = agent.initial_state(2)
    first, second = agent.groups()["modules"], agent.core.network.blocks.parameters()
    assert [id(p) for p in first] == [id(p) for p in second]
    obs = {"features": torch.randn(3, 2, env.seen), "task": torch.zeros(3, 2, dtype=torch.int64)}
    starts = torch.zeros(3, 2, dtype=torch.bool)
    output = agent(obs, (streams,), starts)
    last = {name: x[2:] for name, x in obs.items()}
    alone = agent(last, (streams + 2,), starts[2:])
    torch.testing.assert_close(alone.logits, output.logits[2:])


def test_diagnostics_tell_who_was_chosen_and_how_likely():
    env = Contexts(8)
    agent = make_agent(env)
    spans = collected(env, agent)
    diagnostics = agent(spans.obs, spans.state, spans.starts).diagnostics
    probabilities = diagnostics["module_probabilities"]
    assert probabilities.shape == diagnostics["module_mask"].shape == (10, 8, 2, 3)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(10, 8, 2))
    chosen = probabilities.log()[diagnostics["module_mask"]].view(10, 8, 2)
    torch.testing.assert_close(chosen, spans.obs["route_log_prob"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"meta": "tasks"}, "unknown meta 'tasks'; nearest: task"),
        ({"blocks": 0}, "blocks must be positive, got 0"),
        ({"depth": 0}, "depth must be positive, got 0"),
        ({"hidden": -1}, "hidden must be positive, got -1"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UsageError) as error:
        RoutingConfig(**settings)
    assert message in str(error.value)


def test_slots_are_not_taken():
    policy = cast(PolicyConfig, configured().agent)
    with pytest.raises(UsageError, match="core 'routing' takes no slots"):
        replace(policy, encoder=replace(policy.encoder, slots=True))
