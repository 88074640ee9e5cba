"""Behaviour cloning (Pomerleau 1989): imitate the actions in demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import check_between
from ..loops import Loop
from ..losses import entropy_of, log_prob_of, mean_where, variance_where
from ..protocols import Output
from ..registry import register
from ..returns import generalized_advantages
from ..rollout import Rollout
from ..sequences import Sequences
from .base import AlgorithmConfig, Loss
from .ppo import PPO, normalized


@register("algorithm", "clone")
@dataclass(frozen=True)
class Clone(AlgorithmConfig):
    """Maximum likelihood of the demonstrated actions; the value is learnt from the agent's own
    rollouts, ready for PPO to continue.

    Attributes:
        value_weight: weight of the value loss.
    """

    imitates: ClassVar[bool] = True

    value_weight: float = PPO.value_weight

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between(0, float("inf"), value_weight=self.value_weight)

    def targets(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """As advantages, for agents with internal choices, the normalised log-likelihood of
        demonstrated actions, 0 elsewhere; and returns, bootstrapped with V at the rollout's end.
        """
        rewards, ends = self.rewards(rollout), (rollout.terminated, rollout.truncated)
        values = rollout.values, rollout.next_values
        advantages = generalized_advantages(rewards, *values, *ends, self.discount, 1.0)
        likely = normalized(rollout.log_probs, PPO.least_deviation)
        return likely * rollout.obs["shown"], advantages + rollout.values

    def loss(self, output: Output, batch: Sequences, loop: Loop) -> Loss:
        """Mean −log π(a) of demonstrated steps, value loss of the agent's, and its own loss."""
        shown, log_probs = batch.obs["shown"], output.logits.log_softmax(-1)
        imitation_loss = -mean_where(log_prob_of(log_probs, batch.actions), shown)
        value_loss = 0.5 * mean_where((output.value - batch.returns).square(), ~shown)
        total = imitation_loss
        if loop.value_loss:
            total = total + self.value_weight * value_loss
        if output.loss is not None:
            total = total + output.loss(batch.advantages)
        with torch.no_grad():
            right = output.logits.argmax(-1) == batch.actions
            unexplained = variance_where(batch.returns - output.value, ~shown)
            figures = {
                "imitation_loss": imitation_loss,
                "accuracy": mean_where(right, shown),
                "value_loss": value_loss,
                "entropy_loss": -mean_where(entropy_of(log_probs), shown),
                "explained_variance": 1
                - unexplained / variance_where(batch.returns, ~shown).clamp_min(1e-12),
            }
        return Loss(total, figures)
