"""Q-learning and Advantage learning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarims.errors import check_between, check_positive
from metarims.registry import register

from ..trace import UNAVAILABLE, Space, Trace, all_on_best
from .base import DecisionMaker, MakerConfig


@register("decision maker", "q")
@dataclass(frozen=True)
class QConfig(MakerConfig):
    """Settings of Q-learning.

    Attributes:
        epsilon: initial fraction of uniform choices.
        half_life: learning steps in which that fraction halves.
        trace_decay: λ; 0 is Watkins' original, useless with a table: its states do not tell which
            block came before, so every first choice has the same target.
    """

    epsilon: float = 0.4
    half_life: int = 1000
    trace_decay: float = 1.0

    def __post_init__(self) -> None:
        check_positive(half_life=self.half_life)
        check_between(0, 1, epsilon=self.epsilon, trace_decay=self.trace_decay)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return QLearning(self, space)


class QLearning(DecisionMaker):
    """Q-learning over the decisions of a path (Watkins 1989; Rosenbaum et al. 2018, §3.1.2)."""

    config: QConfig
    learnt: Tensor

    def __init__(self, config: QConfig, space: Space) -> None:
        super().__init__(config, space)
        self.register_buffer("learnt", torch.zeros(()))

    def policy(self, scores: Tensor) -> Tensor:
        """All probability on the best choice."""
        return all_on_best(scores)

    def behaviour(self, scores: Tensor) -> Tensor:
        """ε-greedy."""
        there = (scores > UNAVAILABLE / 2).to(scores)
        epsilon = self.config.epsilon * 0.5 ** (self.learnt / self.config.half_life)
        return torch.lerp(all_on_best(scores), there / there.sum(-1, keepdim=True), epsilon)

    def targets(self, best: Tensor, trace: Trace) -> Tensor:
        """Targets y [N, depth] from the best choices' values [N, depth]."""
        return q_targets(best, trace, self.config.trace_decay)

    def learn(self, trace: Trace) -> Tensor:
        """½ (y − Q(a))², the squared temporal difference error, summed over depth."""
        if trace.scores.requires_grad:
            self.learnt += 1
        error = self.targets(trace.scores.amax(-1), trace) - trace.chosen(trace.scores)
        return 0.5 * error.square().sum(1).mean()


@register("decision maker", "advantage")
@dataclass(frozen=True)
class AdvantageConfig(QConfig):
    """Settings of Advantage learning."""

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return AdvantageLearning(self, space)


class AdvantageLearning(QLearning):
    """Learns V and A = Q − V separately (Rosenbaum et al. 2019, §4.1.3).

    V, the last score, absorbs what all blocks gain by training; A only compares blocks.
    """

    extra = 1

    def policy(self, scores: Tensor) -> Tensor:
        """All probability on the best advantage."""
        return super().policy(scores[..., :-1])

    def behaviour(self, scores: Tensor) -> Tensor:
        """ε-greedy in the advantages."""
        return super().behaviour(scores[..., :-1])

    def learn(self, trace: Trace) -> Tensor:
        """½ (y − V)² + ½ (y − V − A(a))², summed over depth; V gets no gradient from the second."""
        if trace.scores.requires_grad:
            self.learnt += 1
        advantages, value = trace.scores[..., :-1], trace.scores[..., -1]
        target = self.targets(advantages.amax(-1) + value, trace)
        error = target - value.detach() - trace.chosen(advantages)
        return 0.5 * ((target - value).square() + error.square()).sum(1).mean()


@torch.no_grad()
def q_targets(best: Tensor, trace: Trace, trace_decay: float) -> Tensor:
    """y_i = r_i + γ ((1 − λ) max_a Q(s_{i+1}, a) + λ y_{i+1}), r_i + r_final at the path's end.

    Args:
        best: [N, depth], value of the best choice at each decision.
        trace: the decisions.
        trace_decay: λ.

    Returns:
        [N, depth], without gradient.
    """
    following, targets = trace.final, []
    for reward, value in zip(
        reversed(trace.rewards.unbind(1)), reversed(best.unbind(1)), strict=True
    ):
        target = reward + following
        following = trace.discount * torch.lerp(value, target, trace_decay)
        targets.append(target)
    return torch.stack(targets[::-1], 1)
