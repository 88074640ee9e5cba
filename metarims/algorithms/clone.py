"""Behaviour cloning (Pomerleau 1989): to do what was done in demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import check_between
from ..loops import Loop
from ..losses import entropy_of, explained_variance, log_prob_of, squared_value_loss
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
    """The likelihood of the demonstrated actions; the value learns the demonstrations' returns.

    Attributes:
        value_weight: weight of the value loss, so that PPO may go on from here.
    """

    imitates: ClassVar[bool] = True

    value_weight: float = PPO.value_weight

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between(0, float("inf"), value_weight=self.value_weight)

    def targets(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """For agents that choose within, how likely their choices made what was done; and returns,
        to the rollout's end and then V.
        """
        rewards, ends = self.rewards(rollout), (rollout.terminated, rollout.truncated)
        values = rollout.values, rollout.next_values
        advantages = generalized_advantages(rewards, *values, *ends, self.discount, 1.0)
        likely = normalized(rollout.log_probs, PPO.least_deviation)
        return likely, advantages + rollout.values

    def loss(self, output: Output, batch: Sequences, loop: Loop) -> Loss:
        """The mean of −log π(a), the value loss, and the agent's own."""
        log_probs = output.logits.log_softmax(-1)
        imitation_loss = -log_prob_of(log_probs, batch.actions).mean()
        value_loss = squared_value_loss(output.value, batch.returns)
        total = imitation_loss
        if loop.value_loss:
            total = total + self.value_weight * value_loss
        if output.loss is not None:
            total = total + output.loss(batch.advantages)
        with torch.no_grad():
            figures = {
                "imitation_loss": imitation_loss,
                "accuracy": (output.logits.argmax(-1) == batch.actions).float().mean(),
                "value_loss": value_loss,
                "entropy_loss": -entropy_of(log_probs).mean(),
                "explained_variance": explained_variance(output.value, batch.returns),
            }
        return Loss(total, figures)
