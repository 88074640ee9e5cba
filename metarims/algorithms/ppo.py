"""Proximal policy optimisation (Schulman et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ranks
from ..errors import UsageError, check_between, check_positive
from ..loops import Loop
from ..losses import (
    approximate_kl,
    explained_variance,
    policy_loss_of,
    squared_value_loss,
)
from ..protocols import Output
from ..registry import register
from ..returns import generalized_advantages
from ..rollout import Rollout
from ..sequences import Sequences
from .base import AlgorithmConfig, Loss


@register("algorithm", "ppo")
@dataclass(frozen=True)
class PPO(AlgorithmConfig):
    """PPO with generalised advantage estimation (GAE).

    Attributes:
        gae_lambda: λ of GAE.
        clip: ε of the clipped probability ratio.
        entropy: weight of the entropy bonus.
        log_barrier: weight of KL(uniform ‖ π) in the loss, which keeps the policy from giving up an
            action before the agent has learnt what it is for.
        value_weight: weight of the value loss.
        least_deviation: advantages are normalised by their standard deviation over a rollout, or by
            this if it is larger: before the first success they are only noise.
        target_kl: skip a minibatch if the KL divergence from the old policy exceeds this.
    """

    gae_lambda: float = 0.99
    clip: float = 0.2
    entropy: float = 0.015
    log_barrier: float = 0.01
    value_weight: float = 0.5
    least_deviation: float = 0.05
    target_kl: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(clip=self.clip, target_kl=self.target_kl)
        check_positive(least_deviation=self.least_deviation)
        check_between(0, 1, gae_lambda=self.gae_lambda)
        weights = {"entropy": self.entropy, "log_barrier": self.log_barrier}
        check_between(0, float("inf"), **weights, value_weight=self.value_weight)

    def targets(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Normalised GAE advantages; and returns, values plus raw advantages; [T, B] each."""
        advantages = generalized_advantages(
            self.rewards(rollout),
            rollout.values,
            rollout.next_values,
            rollout.terminated,
            rollout.truncated,
            self.discount,
            self.gae_lambda,
        )
        returns = advantages + rollout.values
        return normalized(advantages, self.least_deviation), returns

    def loss(self, output: Output, batch: Sequences, loop: Loop) -> Loss:
        """−L^CLIP + c₁ L^VF − c₂ S (eq. 9), a log barrier, and the agent's own loss."""
        done = batch.actions, batch.log_probs, batch.advantages
        policy = policy_loss_of(output.logits, *done, self.clip, self.entropy, self.log_barrier)
        value_loss = squared_value_loss(output.value, batch.returns)
        total = policy.total
        if loop.value_loss:
            total = total + self.value_weight * value_loss
        if output.loss is not None:
            total = total + output.loss(batch.advantages)
        with torch.no_grad():
            kl = ranks.mean(approximate_kl(policy.ratio))
            skip = kl > self.target_kl
            figures = {
                "policy_gradient_loss": policy.surrogate,
                "value_loss": value_loss,
                "entropy_loss": -policy.entropy,
                "log_barrier": policy.barrier,
                "approx_kl": kl,
                "skipped": skip.float(),
                "clip_fraction": ((policy.ratio - 1).abs() > self.clip).float().mean(),
                "explained_variance": explained_variance(output.value, batch.returns),
            }
        return Loss(total, figures, skip)


def normalized(advantages: Tensor, least: float) -> Tensor:
    """Advantages with mean 0 and, unless it was below `least`, deviation 1, over all ranks.

    Raises:
        UsageError: there is only one, which has no deviation.
    """
    if advantages.numel() * ranks.size() < 2:
        raise UsageError("a rollout needs at least 2 frames: give more --steps or --num-envs")
    mean, deviation = ranks.moments(advantages)
    return (advantages - mean) / deviation.clamp_min(least)
