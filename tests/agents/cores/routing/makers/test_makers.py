"""Decision makers: the best arm, the best path, and their updates worked out by hand."""

from dataclasses import fields
from typing import Any, cast

import pytest
import torch
from torch import nn

from agents.cores.routing.makers import MakerConfig
from agents.cores.routing.makers.em import EMConfig
from agents.cores.routing.makers.gumbel import GumbelConfig
from agents.cores.routing.makers.q import AdvantageConfig, QConfig, q_targets
from agents.cores.routing.makers.reinforce import (
    BaselineConfig,
    GreedyConfig,
    PPOConfig,
    ReinforceConfig,
)
from agents.cores.routing.makers.relax import RELAXConfig, redrawn
from agents.cores.routing.makers.wpl import WPLConfig, project
from agents.cores.routing.network import RoutingNetwork
from agents.cores.routing.router import RouterConfig
from agents.cores.routing.trace import Space, Trace, draw, gumbel
from metarims.errors import UsageError
from metarims.registry import find, names

from ..layers import Blocks

MAKERS: dict[str, type[MakerConfig]] = {
    name: cast(type[MakerConfig], find("decision maker", name)) for name in names("decision maker")
}


class Constant(nn.Module):
    """Gives the same row whatever it sees."""

    row: torch.Tensor

    def __init__(self, row):
        super().__init__()
        self.register_buffer("row", torch.as_tensor(row, dtype=torch.float32))

    def forward(self, x):
        return self.row.expand(len(x), -1)


class Pick(nn.Module):
    """Gives what a column of rewards holds for the block before."""

    column: torch.Tensor

    def __init__(self, column):
        super().__init__()
        self.register_buffer("column", torch.as_tensor(column, dtype=torch.float32))

    def forward(self, x):
        return (x @ self.column).unsqueeze(1)


def bandit(arms=10):
    """Arms in random order, the best 0.1 better than the next."""
    values = torch.randperm(arms, generator=torch.Generator().manual_seed(3)) / arms
    return [Blocks(Constant([value]) for value in values)], (int(values.argmax()),)


def two_steps():
    """The best path does not begin with the block that is best on average."""
    rewards = torch.tensor([[0.5, 0.4, 0.4], [0.5, 0.5, 0.5], [0.0, 0.3, 1.0]])
    first = Blocks(Constant(row) for row in torch.eye(3))
    return [first, Blocks(Pick(column) for column in rewards.T)], (2, 2)


def learn_path(layers, maker, policy, steps, seed):
    """Train a router on the path's reward with noise; the greedy path afterwards."""
    torch.manual_seed(seed)
    config = RouterConfig(maker=maker, policy=policy, layout="depth")
    network = RoutingNetwork(layers, config, features=3)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02 if policy == "table" else 0.005)
    x, zero = torch.ones(32, 3), torch.zeros(32, dtype=torch.int64)
    for _ in range(steps):
        routed = network(x, zero, zero, torch.rand(32, *network.noise_shape))
        reward = routed.output[:, 0]
        final = reward.detach() + 0.1 * torch.randn(32)
        loss = network.learn(routed, final) - reward.mean()
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
    return tuple(network(x, zero, zero, None).trace.choices[0].tolist())


CASES = [(maker, "table") for maker in MAKERS] + [
    (maker, "approximator") for maker in MAKERS if not MAKERS[maker].tabular
]


@pytest.mark.parametrize(("maker", "policy"), CASES)
def test_finds_the_best_arm_of_ten(maker, policy):
    layers, best = bandit()
    steps = 800 if maker == "advantage" else 400
    assert learn_path(layers, MAKERS[maker](), policy, steps, seed=1) == best


@pytest.mark.parametrize(("maker", "policy"), CASES)
def test_finds_the_best_path_of_two_steps(maker, policy):
    layers, best = two_steps()
    assert learn_path(layers, MAKERS[maker](), policy, 400, seed=1) == best


def one_sample(scores, choices, rewards, final, discount=1.0, table=None):
    """A trace of one sample that routing agent 0 decided on."""
    depth = len(choices)
    return Trace(
        scores,
        torch.tensor([choices]),
        torch.zeros(1, depth),
        torch.rand(1, depth, 2, scores.shape[2]),
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([rewards], dtype=torch.float64),
        torch.tensor([final], dtype=torch.float64),
        discount,
        table,
    )


def gradient_of(leaf):
    assert leaf.grad is not None
    return leaf.grad


def test_returns_discount_what_decisions_earn_but_not_the_final_reward():
    trace = one_sample(torch.zeros(1, 3, 2), [0, 1, 0], [0.5, 0.25, 1.0], 2.0, discount=0.5)
    assert trace.returns.tolist() == [[2 + 0.5 + 0.125 + 0.25, 2 + 0.25 + 0.5, 2 + 1.0]]


@pytest.mark.parametrize(
    ("weighting", "final", "expected"),
    [
        # R̂ = ½·0.2 + ½·R; Δ = R − R̂ = 0.4 for R = 1 and −0.6 for R = −1; π(a) = 0.3
        ("algorithm", 1.0, 0.3 + 0.5 * 0.4 * 0.3),
        ("appendix", 1.0, 0.3 + 0.5 * 0.4 * 0.7),
        ("algorithm", -1.0, 0.3 - 0.5 * 0.6 * 0.7),
        ("appendix", -1.0, 0.3 - 0.5 * 0.6 * 0.3),
        ("algorithm", -9.0, 0.0),  # Δ = −4.6: 0.3 − 1.61 is clipped
    ],
)
def test_wpl_by_hand(weighting, final, expected):
    available = torch.ones(1, 3, dtype=torch.bool)
    config = WPLConfig(rate=0.5, weighting=weighting)
    maker: Any = config.build(Space(1, 1, 3), available).double()
    maker.averages.values.fill_(0.2)
    table = nn.Parameter(torch.tensor([[[0.5, 0.3, 0.2]]], dtype=torch.float64))
    maker.learn(one_sample(table, [1], [0.0], final, table=table))
    whole = 0.5 + expected + 0.2
    assert table[0, 0].tolist() == pytest.approx([0.5 / whole, expected / whole, 0.2 / whole])
    assert maker.averages.values.item() == pytest.approx(0.5 * 0.2 + 0.5 * final)


def test_the_projection_by_hand():
    there = torch.tensor([True, True, True, False])
    policy = torch.tensor([0.5, -0.25, 1.5, 0.7])
    assert project(policy, there).tolist() == pytest.approx([1 / 3, 0, 2 / 3, 0])
    assert project(-policy.abs(), there).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_q_targets_by_hand():
    best = torch.tensor([[7.0, 3.0, 4.0]], dtype=torch.float64)
    trace = one_sample(torch.zeros(1, 3, 2), [0, 0, 0], [0.5, 0.25, 1.0], 2.0, discount=0.5)
    assert q_targets(best, trace, 0.0).tolist() == [[0.5 + 0.5 * 3, 0.25 + 0.5 * 4, 1 + 2]]
    assert q_targets(best, trace, 1.0).tolist() == [
        [0.5 + 0.5 * (0.25 + 0.5 * 3), 0.25 + 0.5 * 3, 3]
    ]


def test_q_and_advantage_losses_by_hand():
    """Two decisions, λ = 0: targets 0.5 + max Q = 3.5, and 1 + 2 = 3."""
    space, available = Space(1, 2, 2), torch.ones(2, 2, dtype=torch.bool)
    scores = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    maker = QConfig(trace_decay=0.0).build(space, available)
    maker.learn(one_sample(scores, [0, 1], [0.5, 1.0], 2.0)).backward()
    assert gradient_of(scores).tolist() == [[[1 - 3.5, 0], [0, 0 - 3.0]]]
    # with V = 1 and 0.5 beside: targets 0.5 + max A + V = 4, and 3
    scores = torch.tensor(
        [[[1.0, 2.0, 1.0], [3.0, 0.0, 0.5]]], dtype=torch.float64, requires_grad=True
    )
    maker = AdvantageConfig(trace_decay=0.0).build(space, available)
    maker.learn(one_sample(scores, [0, 1], [0.5, 1.0], 2.0)).backward()
    assert gradient_of(scores).tolist() == [
        [[1 - (4 - 1), 0, 1 - 4], [0, 0 - (3 - 0.5), 0.5 - 3]],
    ]


def test_em_remembers_the_best_and_forgets_luck():
    available = torch.ones(2, 3, dtype=torch.bool)
    maker: Any = EMConfig(average=0.5).build(Space(1, 2, 3, keys=2), available)
    scores = torch.zeros(1, 2, 3, requires_grad=True)
    maker.learn(one_sample(scores, [1, 2], [0.0, 0.0], 1.0))
    maker.learn(one_sample(scores, [0, 0], [0.0, 0.0], 0.5))
    assert (maker.paths[0].item(), maker.returns[0].item()) == (1 + 2 * 3, 1.0)
    maker.learn(one_sample(scores, [1, 2], [0.0, 0.0], -1.0)).backward()
    assert (maker.paths[0].item(), maker.returns[0].item()) == (1 + 2 * 3, 0.0)
    third = 1 / 3
    assert gradient_of(scores)[0].flatten().tolist() == pytest.approx(
        [third, third - 1, third, third, third, third - 1]
    )
    maker.learn(one_sample(scores, [0, 0], [0.0, 0.0], 0.5))
    assert (maker.paths[0].item(), maker.returns[0].item()) == (0, 0.5)
    assert maker.paths[1].item() == -1
    proposed = maker.propose(
        torch.tensor([0, 0, 1]),
        torch.tensor([[0.1], [0.9], [0.1]]).expand(3, 1 * 2 * 3).reshape(3, 1, 2, 3),
    )
    assert proposed is not None
    assert proposed.tolist() == [[0, 0], [-1, -1], [-1, -1]]


def bernoulli_wpl(weighting, seed):
    """WPL's policy after ten noisy arms that pay ±1."""
    torch.manual_seed(seed)
    chance, available = torch.arange(10) / 10, torch.ones(1, 10, dtype=torch.bool)
    config = WPLConfig(rate=0.05, weighting=weighting)
    maker = config.build(Space(1, 1, 10), available)
    table = nn.Parameter(maker.first_scores(available).unsqueeze(0))
    who, zero = torch.zeros(32, dtype=torch.int64), torch.zeros(32, 1)
    for _ in range(1000):
        scores = table[who]
        choices = draw(scores, torch.rand(32, 1, 10))
        final = 2 * (torch.rand(32) < chance[choices[:, 0]]).float() - 1
        noise = torch.rand(32, 1, 1, 10)
        maker.learn(Trace(scores, choices, zero, noise, who, who, zero, final, 1.0, table))
    return table.detach()[0, 0]


def test_wpl_converges_as_algorithm_3_and_keeps_exploring_as_appendix():
    """Both find the best arm; with noisy rewards only Algorithm 3's policy becomes pure."""
    for seed in range(2):
        pure, mixed = (bernoulli_wpl(name, seed) for name in ("algorithm", "appendix"))
        assert pure.argmax() == mixed.argmax() == 9
        assert pure.max() > 0.95
        assert mixed.max() < 0.8


def gradients(maker, reward, scores, samples):
    """Estimates of ∇ E[reward], [samples, K]."""
    arms = len(reward)
    network = RoutingNetwork(
        [Blocks(Constant([value]) for value in reward)],
        RouterConfig(maker=maker, layout="depth"),
        features=1,
    ).double()
    rows = scores.expand(samples, 1, -1).clone().requires_grad_()
    network.decider.source = Rows(rows)  # type: ignore[assignment]
    zero = torch.zeros(samples, dtype=torch.int64)
    noise = torch.rand(samples, *network.noise_shape, dtype=torch.float64)
    routed = network(torch.ones(samples, 1, dtype=torch.float64), zero, zero, noise[..., :arms])
    loss = network.learn(routed, routed.output[:, 0].detach())
    relaxed = network.decider.maker.relaxed
    (gradient,) = torch.autograd.grad(samples * loss - relaxed * routed.output.sum(), rows)
    return -gradient[:, 0]


class Rows(nn.Module):
    """Scores of each sample's own."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self, x, tasks, routing_agents, depth):
        return self.rows[:, depth]


@pytest.mark.parametrize(
    "maker",
    [
        ReinforceConfig(entropy=0.0),
        BaselineConfig(entropy=0.0),
        GreedyConfig(entropy=0.0, greedy=0.3),
        PPOConfig(entropy=0.0),
        RELAXConfig(),
    ],
    ids=lambda maker: maker.name,
)
def test_gradients_are_unbiased(maker):
    torch.manual_seed(0)
    reward, scores = torch.rand(5).double(), torch.randn(5).double()
    estimates = gradients(maker, reward, scores, 40_000)
    policy = scores.softmax(0)
    exact = policy * (reward - policy @ reward)
    error = estimates.std(0) / len(estimates) ** 0.5
    assert ((estimates.mean(0) - exact).abs() < 3 * error).all()


@pytest.mark.parametrize(
    "maker",
    [
        ReinforceConfig(entropy=0.0),
        BaselineConfig(entropy=0.0),
        GreedyConfig(entropy=0.0, greedy=0.5),
        GreedyConfig(entropy=0.0, greedy=0.9),
    ],
    ids=["reinforce", "baseline", "greedy", "greedier"],
)
def test_gradients_along_a_path_are_exact_on_average(maker):
    """Over all nine paths of two decisions, each as likely as it is to be taken."""
    reward = torch.eye(3).double()
    scores = torch.tensor([[0.1, 0.0, 0.0], [0.5, 0.4, 0.3]]).double().requires_grad_()
    first, second = scores.softmax(-1)
    (exact,) = torch.autograd.grad(first @ reward @ second, scores)
    paths = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    nobody, nothing = torch.zeros(9, dtype=torch.int64), torch.zeros(9, 2).double()
    made = maker.build(Space(1, 2, 3), torch.ones(2, 3, dtype=torch.bool)).double()
    rows = scores.detach().expand(9, -1, -1).clone().requires_grad_()
    drawn = made.behaviour(rows.detach()).gather(2, paths.unsqueeze(2)).squeeze(2)
    trace = Trace(
        rows, paths, drawn.log(), nothing, nobody, nobody, nothing, reward[tuple(paths.T)]
    )
    (gradients,) = torch.autograd.grad(-9 * made.learn(trace), rows)
    average = (drawn.prod(1).view(-1, 1, 1) * gradients).sum(0)
    torch.testing.assert_close(average, exact)


def test_gumbel_is_biased_and_of_lower_variance():
    torch.manual_seed(0)
    reward, scores = torch.rand(5).double(), torch.randn(5).double()
    estimates = gradients(GumbelConfig(), reward, scores, 40_000)
    policy = scores.softmax(0)
    exact = policy * (reward - policy @ reward)
    error = estimates.std(0) / len(estimates) ** 0.5
    assert ((estimates.mean(0) - exact).abs() > 5 * error).any()
    reinforce = gradients(ReinforceConfig(entropy=0.0), reward, scores, 40_000)
    assert estimates.var(0).sum() < reinforce.var(0).sum()


def test_redrawn_scores_are_gumbel_and_agree_with_the_choice():
    torch.manual_seed(0)
    log_policy = torch.randn(4).double().log_softmax(0).expand(50_000, 4)
    choices = draw(log_policy.exp(), torch.rand(50_000, 4).double())
    again = redrawn(log_policy, choices, torch.rand(50_000, 4).double())
    assert torch.equal(again.argmax(-1), choices)
    plain = log_policy + gumbel(torch.rand(50_000, 4).double())
    for level in (-1.0, 0.0, 1.0):
        torch.testing.assert_close(
            (again < level).double().mean(0), (plain < level).double().mean(0), atol=0.01, rtol=0
        )


@pytest.mark.parametrize(("keys", "choices", "depth"), [(1, 5, 30), (2, 4, 31)])
def test_em_refuses_more_paths_than_it_can_number(keys, choices, depth):
    available = torch.ones(depth, choices, dtype=torch.bool)
    with pytest.raises(UsageError, match=rf"2\^63 paths, got {keys} · {choices}\^{depth}: take"):
        EMConfig().build(Space(1, depth, choices, keys), available)


def test_wpl_needs_a_table():
    with pytest.raises(UsageError, match="wpl learns only a table, got policy 'approximator'"):
        RouterConfig(WPLConfig(), policy="approximator")


WRONG: dict[str, list[tuple[str, float | str]]] = {
    "reinforce": [("entropy", -0.1)],
    "baseline": [("entropy", -0.1), ("average", 0.0), ("average", 1.5)],
    "greedy": [("entropy", -0.1), ("average", 0.0), ("greedy", -0.5), ("greedy", 1.5)],
    "ppo": [("entropy", -0.1), ("average", 0.0), ("clip", 0.0)],
    "q": [("epsilon", 1.5), ("half_life", 0), ("trace_decay", -0.5)],
    "advantage": [("epsilon", 1.5), ("half_life", 0), ("trace_decay", -0.5)],
    "wpl": [("rate", 0.0), ("weighting", "algoritm")],
    "gumbel": [("temperature", 0.0)],
    "relax": [("temperature", -1.0)],
    "em": [("top", 0), ("average", 0.0), ("average", 1.5)],
}


@pytest.mark.parametrize("maker", MAKERS)
def test_every_setting_of_every_maker_refuses_wrong_values(maker):
    assert {setting for setting, _ in WRONG[maker]} == {f.name for f in fields(MAKERS[maker])}
    for setting, value in WRONG[maker]:
        with pytest.raises(UsageError, match=f"{setting}.* .*{value}"):
            MAKERS[maker](**{setting: value})


def test_entropy_draws_policies_to_the_middle_and_is_off_with_0():
    """−β ∇ H is all that is left of the gradient where nothing is earned."""
    space, available = Space(1, 1, 3), torch.ones(1, 3, dtype=torch.bool)
    for build in (ReinforceConfig, BaselineConfig, GreedyConfig, PPOConfig):
        for entropy in (0.0, 0.5):
            start = torch.tensor([[[1.0, 0.0, -1.0]]], dtype=torch.float64)
            scores = start.clone().requires_grad_()
            maker = build(entropy=entropy).build(space, available).double()
            maker.learn(one_sample(scores, [0], [0.0], 0.0)).backward()
            log_policy = start[0, 0].log_softmax(0)
            policy = log_policy.exp()
            bonus = policy * (log_policy - policy @ log_policy)  # −∇ H
            torch.testing.assert_close(gradient_of(scores)[0, 0], entropy * bonus)
