"""The routing network: chosen blocks only, PASS, recursion, layouts, rewards and the squash."""

from typing import Any, cast

import pytest
import torch
from torch import nn

from agents.cores.routing.makers import MakerConfig
from agents.cores.routing.makers.gumbel import GumbelConfig
from agents.cores.routing.makers.q import QConfig
from agents.cores.routing.makers.reinforce import BaselineConfig, GreedyConfig, ReinforceConfig
from agents.cores.routing.makers.wpl import WPLConfig
from agents.cores.routing.network import RoutingNetwork
from agents.cores.routing.router import RouterConfig
from metarims.errors import UsageError
from metarims.registry import find
from metarims.settings import replace_at

from .layers import Blocks


def linear_blocks(count, inputs=4, outputs=4):
    return Blocks(nn.Linear(inputs, outputs) for _ in range(count))


def route(network, samples=12, tasks=2, seed=0, **keywords):
    torch.manual_seed(seed)
    x, task = torch.randn(samples, 4), torch.randint(tasks, (samples,))
    return network(x, task, task, torch.rand(samples, *network.noise_shape), **keywords), x


def follow(network, x, choices):
    """One sample after another along its path."""
    rows = []
    for row, path in zip(x, choices, strict=True):
        for layer, choice in zip(network.layers, path, strict=True):
            row = network.blocks[layer][choice](row)
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("layout", ["single", "depth", "task", "dispatched"])
@pytest.mark.parametrize("policy", ["table", "approximator"])
def test_the_output_is_the_composition_of_what_was_chosen(layout, policy):
    config = RouterConfig(BaselineConfig(), layout, policy, routing_agents=3)
    network = RoutingNetwork([linear_blocks(3), linear_blocks(3, 4, 2)], config, 4, tasks=2)
    routed, x = route(network)
    torch.testing.assert_close(routed.output, follow(network, x, routed.trace.choices))
    assert network.decisions == routed.replay.choices.shape[1] == 2 + (layout == "dispatched")
    torch.testing.assert_close(
        routed.trace.log_probs,
        routed.trace.chosen(routed.probabilities.log()),
        rtol=1e-4,
        atol=1e-4,
    )
    network.learn(routed, torch.randn(12)).backward()
    learnt = [parameter for parameter in network.parameters() if parameter.grad is not None]
    assert {id(p) for p in learnt} <= {id(p) for p in network.router_parameters()}
    assert learnt


def test_recursion_with_pass_shares_blocks_and_can_skip():
    layer = Blocks([nn.Linear(4, 4), nn.Identity()])
    config = RouterConfig(BaselineConfig(), "depth", "table")
    network: Any = RoutingNetwork([layer] * 3, config, 4)
    assert len(list(network.blocks.parameters())) == 2
    with torch.no_grad():
        network.decider.source.values[..., 1] = 50.0
    routed, x = route(network, tasks=1)
    assert torch.equal(routed.output, x)
    assert (routed.trace.choices == 1).all()


@pytest.mark.parametrize("maker", ["baseline", "q", "advantage", "wpl", "gumbel", "relax", "em"])
def test_a_shorter_layer_is_never_chosen_beyond_its_end(maker):
    config = RouterConfig(cast(type[MakerConfig], find("decision maker", maker))(), "task")
    layers = [linear_blocks(2), linear_blocks(5)]
    network = RoutingNetwork(layers, config, 4, tasks=2, keys=2)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for seed in range(20):
        routed, _ = route(network, 30, seed=seed)
        assert routed.trace.choices[:, 0].max() <= 1
        loss = network.learn(routed, torch.randn(30)) + routed.output.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_gumbel_teaches_scores_through_the_loss():
    config = RouterConfig(GumbelConfig(), "task", "table")
    network: Any = RoutingNetwork([linear_blocks(3)], config, 4, tasks=2)
    routed, x = route(network)
    torch.testing.assert_close(routed.output, follow(network, x, routed.trace.choices))
    routed.output.square().sum().backward()
    assert (network.decider.table.grad != 0).all()


def test_collaboration_earns_the_average_probability_of_a_block():
    config = RouterConfig(ReinforceConfig(entropy=0.0), "depth", "table", collaboration=-0.5)
    network: Any = RoutingNetwork([linear_blocks(2), linear_blocks(2)], config, 4)
    with torch.no_grad():
        network.decider.table.copy_(torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]))
        network.usage.copy_(network.decider.table[0].softmax(-1))
    routed, _ = route(network, tasks=1)
    loss = network.learn(routed, torch.zeros(12))
    p = network.usage.gather(1, routed.trace.choices.T).T  # [N, depth]
    rewards = -0.25 * p
    returns = torch.stack([rewards.sum(1), rewards[:, 1]], 1)
    torch.testing.assert_close(loss, -(returns * p.log()).sum(1).mean())


def test_the_squash_scales_gradients_of_exploring_paths():
    config = RouterConfig(BaselineConfig(), "depth", "table", squash=2.0)
    network = RoutingNetwork([linear_blocks(3), linear_blocks(3)], config, 4)
    x = torch.randn(12, 4, requires_grad=True)
    zero = torch.zeros(12, dtype=torch.int64)
    torch.manual_seed(0)
    routed = network(x, zero, zero, torch.rand(12, *network.noise_shape))
    (plain,) = torch.autograd.grad(follow(network, x, routed.trace.choices).sum(), x)
    torch.testing.assert_close(routed.output, follow(network, x, routed.trace.choices))
    (squashed,) = torch.autograd.grad(routed.output.sum(), x)
    explored = (routed.trace.choices != 0).float().mean(1, keepdim=True)  # equal scores: 0 is best
    torch.testing.assert_close(squashed, plain * (1 - explored) ** 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "tasks"}, "unknown layout 'tasks'; nearest: task"),
        ({"collaboration": -2.0}, "collaboration must lie between -1 and 1, got -2.0"),
        ({"routing_agents": 0}, "routing_agents must be positive, got 0"),
        ({"policy": "tables"}, "unknown policy 'tables'; nearest: table"),
        ({"dispatcher": WPLConfig()}, "a dispatcher must learn by policy gradient, as baseline"),
        ({"squash": -1.0}, "squash must lie between 0 and inf, got -1.0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UsageError) as error:
        RouterConfig(**settings)
    assert message in str(error.value)


def test_a_maker_is_chosen_by_name_and_an_unknown_one_has_its_nearest():
    router = replace_at(RouterConfig(), {"maker": "q", "maker.epsilon": 0.1})
    assert router == RouterConfig(QConfig(epsilon=0.1))
    with pytest.raises(UsageError) as error:
        replace_at(router, {"maker": "reinforced"})
    assert "unknown decision maker 'reinforced'; nearest: reinforce" in str(error.value)


@pytest.mark.parametrize("dispatcher", [BaselineConfig(entropy=0.0), GreedyConfig()])
def test_the_dispatcher_learns_whom_to_ask(dispatcher):
    """One routing agent earns, the others do not."""
    config = RouterConfig(
        BaselineConfig(), "dispatched", routing_agents=3, dispatcher=dispatcher, hidden=8
    )
    torch.manual_seed(0)
    network = RoutingNetwork([linear_blocks(2)], config, 4, tasks=2)
    optimizer = torch.optim.Adam(network.router_parameters(), 0.02)
    for seed in range(100):
        routed, _ = route(network, 64, seed=seed)
        loss = network.learn(routed, (routed.dispatch.choices[:, 0] == 2).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    routed, _ = route(network, 64)
    assert routed.dispatch.scores.argmax(-1).float().mean() == 2
