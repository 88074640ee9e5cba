"""How well decision makers estimate a policy's gradient (Rosenbaum et al. 2019, §4.2, Fig. 9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarims.errors import check_positive

from ..cores.routing.makers import DecisionMaker, MakerConfig
from ..cores.routing.makers.gumbel import GumbelConfig
from ..cores.routing.makers.reinforce import BaselineConfig, ReinforceConfig
from ..cores.routing.makers.relax import RELAXConfig
from ..cores.routing.trace import Space, Trace

# An entropy bonus would bias the gradients that are studied.
ESTIMATORS = (
    ReinforceConfig(entropy=0.0),
    BaselineConfig(entropy=0.0),
    GumbelConfig(),
    RELAXConfig(),
)


@dataclass(frozen=True)
class StudyConfig:
    """The estimator study.

    Attributes:
        estimators: decision makers that learn by gradients of their scores.
        dimensions: numbers of choices.
        pairs: pairs of random rewards and policy for each (the paper's 22).
        samples: gradients sampled per pair and choice (the paper's 22 are too few to tell bias).
        warm: steps for which baselines and control variates are fitted to a pair beforehand.
        seed: of everything random.
    """

    estimators: tuple[MakerConfig, ...] = ESTIMATORS
    dimensions: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    pairs: int = 22
    samples: int = 200
    warm: int = 200
    seed: int = 1

    def __post_init__(self) -> None:
        check_positive(pairs=self.pairs, samples=self.samples, dimensions=len(self.dimensions))


@dataclass(frozen=True)
class Quality:
    """An estimator at one dimensionality.

    Attributes:
        error: mean squared error of single samples' gradients against the exact one.
        variance: of single samples' gradients.
        bias: squared distance of their mean from the exact gradient, less what sampling noise adds
            to it on average; so it may be a little below 0.
    """

    estimator: str
    choices: int
    error: float
    variance: float
    bias: float


def study_estimators(config: StudyConfig) -> list[Quality]:
    """Every estimator at every dimensionality, averaged over parameters and pairs."""
    generator = torch.Generator().manual_seed(config.seed)
    rows = []
    for choices in config.dimensions:
        sums = {each: torch.zeros(3, dtype=torch.float64) for each in config.estimators}
        for _ in range(config.pairs):
            reward = torch.rand(choices, generator=generator, dtype=torch.float64)
            scores = torch.randn(choices, generator=generator, dtype=torch.float64)
            exact = exact_gradient(scores, reward)
            for estimator in config.estimators:
                maker = fitted(estimator, scores, reward, config, generator)
                samples = config.samples * choices
                estimates = sample_gradients(maker, scores, reward, samples, generator)
                sums[estimator] += _quality(estimates, exact)
        for estimator, total in sums.items():
            rows.append(Quality(estimator.name, choices, *(total / config.pairs).tolist()))
    return rows


def exact_gradient(scores: Tensor, reward: Tensor) -> Tensor:
    """∂ E[r] / ∂θ for π = softmax(θ): π (r − π·r), [K]."""
    policy = scores.softmax(-1)
    return policy * (reward - policy @ reward)


def sample_gradients(
    maker: DecisionMaker, scores: Tensor, reward: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """Estimates of `exact_gradient` from single decisions, [samples, K].

    Args:
        maker: the decision maker; its baseline is updated, but only after use.
        scores, reward: [K].
        samples: number of estimates.
        generator: for the decisions.
    """
    rows = scores.expand(samples, -1).clone().requires_grad_()
    gain = samples * _gain(maker, rows, reward, generator)
    (gradient,) = torch.autograd.grad(gain, rows)
    return gradient


def fitted(
    estimator: MakerConfig,
    scores: Tensor,
    reward: Tensor,
    config: StudyConfig,
    generator: torch.Generator,
) -> DecisionMaker:
    """A decision maker whose baseline or control variate is fitted to the pair.

    Args:
        estimator: its settings.
        scores, reward: [K].
        config: settings of the study.
        generator: for the decisions.
    """
    count = len(scores)
    available = torch.ones(1, count, dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        maker = estimator.build(Space(1, 1, count), available).double()
    parameters = list(maker.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.01) if parameters else None
    for _ in range(config.warm):
        rows = scores.expand(32, -1).clone().requires_grad_()
        loss = -_gain(maker, rows, reward, generator)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return maker


def _gain(
    maker: DecisionMaker, scores: Tensor, reward: Tensor, generator: torch.Generator
) -> Tensor:
    """The maker's objective, averaged over samples: scores [N, K], reward [K] to a scalar."""
    count, choices = scores.shape
    noise = torch.rand(count, maker.draws, choices, generator=generator, dtype=scores.dtype)
    with torch.no_grad():
        chosen = maker.choose(scores, noise)
        behaviour = maker.behaviour(scores).gather(1, chosen.unsqueeze(1)).log()
    nobody = torch.zeros_like(chosen)
    trace = Trace(
        scores.unsqueeze(1),
        chosen.unsqueeze(1),
        behaviour,
        noise.unsqueeze(1),
        nobody,
        nobody,
        torch.zeros_like(behaviour),
        reward[chosen],
    )
    gain = -maker.learn(trace)
    if maker.relaxed:
        gain = gain + (maker.weights(scores, chosen, noise) @ reward).mean()
    return gain


def _quality(estimates: Tensor, exact: Tensor) -> Tensor:
    """Error, variance and bias², means over parameters: [samples, K] and [K] to [3]."""
    variance = estimates.var(0)
    error = (estimates - exact).square().mean(0)
    bias = (estimates.mean(0) - exact).square() - variance / len(estimates)
    return torch.stack([error.mean(), variance.mean(), bias.mean()])
