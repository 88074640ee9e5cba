"""A custom algorithm: REINFORCE with a baseline (Williams 1992).

    python run.py train --import examples/toy_algorithm.py --algorithm reinforce \
        --reinforce.entropy 0.02 --env MiniGrid-DoorKey-5x5-v0 --out RUN
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarims import Output, register
from metarims.algorithms import AlgorithmConfig, Loss
from metarims.loops import Loop
from metarims.losses import entropy_of, log_prob_of, squared_value_loss
from metarims.returns import generalized_advantages
from metarims.rollout import Rollout
from metarims.sequences import Sequences


@register("algorithm", "reinforce")
@dataclass(frozen=True)
class Reinforce(AlgorithmConfig):
    """∇ log π times the return minus the value.

    Attributes:
        entropy: weight of the entropy bonus.
        value_weight: weight of the value loss.
    """

    entropy: float = 0.01
    value_weight: float = 0.5

    def targets(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Returns, bootstrapped with V at the end (GAE, λ = 1), with and without the baseline."""
        rewards, ends = self.rewards(rollout), (rollout.terminated, rollout.truncated)
        values = rollout.values, rollout.next_values
        advantages = generalized_advantages(rewards, *values, *ends, self.discount, 1.0)
        return advantages, advantages + rollout.values

    def loss(self, output: Output, batch: Sequences, loop: Loop) -> Loss:
        """−A log π(a), with entropy bonus and value loss."""
        log_probs = output.logits.log_softmax(-1)
        policy_loss = -(batch.advantages * log_prob_of(log_probs, batch.actions)).mean()
        entropy = entropy_of(log_probs).mean()
        value_loss = squared_value_loss(output.value, batch.returns)
        total = policy_loss - self.entropy * entropy + self.value_weight * value_loss
        if output.loss is not None:
            total = total + output.loss(batch.advantages)
        figures = {"policy_gradient_loss": policy_loss, "value_loss": value_loss}
        return Loss(total, figures)
