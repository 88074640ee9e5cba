"""Policy gradients: REINFORCE, with a baseline, with greedy choices, with PPO's clipped ratio."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarims.errors import check_between, check_positive
from metarims.losses import clipped_policy_loss, entropy_of
from metarims.registry import register

from ..trace import Averages, Space, Trace, all_on_best
from .base import DecisionMaker, MakerConfig


@register("decision maker", "reinforce")
@dataclass(frozen=True)
class ReinforceConfig(MakerConfig):
    """Settings of REINFORCE.

    Attributes:
        entropy: weight of the entropy bonus.
    """

    entropy: float = 0.01

    def __post_init__(self) -> None:
        check_between(0, float("inf"), entropy=self.entropy)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return Reinforce(self, space)


class Reinforce(DecisionMaker):
    """REINFORCE: R ∇ log π(a) (Williams 1992; Rosenbaum et al. 2018, §3.1.2)."""

    config: ReinforceConfig

    def learn(self, trace: Trace) -> Tensor:
        """−R log π(a), summed over depth."""
        log_policy = trace.scores.log_softmax(-1)
        gain = self.advantages(trace) * trace.chosen(log_policy)
        return -(gain + self.config.entropy * entropy_of(log_policy)).sum(1).mean()

    def advantages(self, trace: Trace) -> Tensor:
        """What multiplies ∇ log π(a), [N, depth]."""
        return trace.returns


@register("decision maker", "baseline")
@dataclass(frozen=True)
class BaselineConfig(ReinforceConfig):
    """Settings of REINFORCE with a baseline.

    Attributes:
        average: weight of new returns in their running averages.
    """

    average: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(average=self.average)
        check_between(0, 1, average=self.average)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return ReinforceBaseline(self, space)


class ReinforceBaseline(Reinforce):
    """REINFORCE with the baseline r̂ ← (1 − α) r̂ + α R (Rosenbaum et al. 2019, Fig. 9)."""

    def __init__(self, config: BaselineConfig, space: Space) -> None:
        super().__init__(config, space)
        self.averages = Averages(space, config.average)

    def advantages(self, trace: Trace) -> Tensor:
        """R − r̂, with the average as it was before these returns, so as to stay unbiased."""
        before = self.averages.values[trace.rows]
        self.averages.follow(trace)
        return trace.returns - before


@register("decision maker", "greedy")
@dataclass(frozen=True)
class GreedyConfig(BaselineConfig):
    """Settings of ε-greedy REINFORCE.

    Attributes:
        greedy: ε, the fraction of greedy choices.
    """

    greedy: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between(0, 1, greedy=self.greedy)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return GreedyReinforce(self, space)


class GreedyReinforce(ReinforceBaseline):
    """REINFORCE that takes the best choice with probability ε (Rosenbaum et al. 2019, §5.1).

    Advantages are weighted by π / b of the whole path, where b is what choices are drawn from, as
    the return depends on all of it (Precup et al. 2000).
    """

    config: GreedyConfig

    def behaviour(self, scores: Tensor) -> Tensor:
        """b = ε [a is best] + (1 − ε) π(a)."""
        return torch.lerp(self.policy(scores), all_on_best(scores), self.config.greedy)

    def advantages(self, trace: Trace) -> Tensor:
        """(R − r̂) Π π(a) / b(a), over depths."""
        log_ratio = trace.chosen(trace.scores.detach().log_softmax(-1)) - trace.log_probs
        return super().advantages(trace) * log_ratio.sum(1, keepdim=True).exp()


@register("decision maker", "ppo")
@dataclass(frozen=True)
class PPOConfig(BaselineConfig):
    """Settings of REINFORCE with PPO's ratio.

    Attributes:
        clip: ε, how far the ratio may be from 1.
    """

    clip: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(clip=self.clip)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return ClippedReinforce(self, space)


class ClippedReinforce(ReinforceBaseline):
    """PPO's clipped ratio, for several passes over the same decisions (Chang et al. 2019)."""

    config: PPOConfig

    def learn(self, trace: Trace) -> Tensor:
        """−min(r Â, clip(r) Â) with Â = R − r̂, summed over depth."""
        log_policy = trace.scores.log_softmax(-1)
        ratio = (trace.chosen(log_policy) - trace.log_probs).exp()
        loss = clipped_policy_loss(ratio, self.advantages(trace), self.config.clip)
        bonus = self.config.entropy * entropy_of(log_policy).mean()
        return self.space.depth * (loss - bonus)
