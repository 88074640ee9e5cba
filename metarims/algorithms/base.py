"""The interface of algorithms, and the settings they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..errors import check_between, check_positive
from ..loops import Loop
from ..protocols import Output
from ..rollout import Rollout
from ..sequences import Sequences
from ..settings import Variant

Figures = dict[str, Tensor]


@dataclass(frozen=True)
class Loss:
    """An algorithm's loss on one minibatch.

    Attributes:
        total: scalar to minimise.
        figures: scalars to report, by name.
        skip: bool scalar; if true, the update is skipped.
    """

    total: Tensor
    figures: Figures
    skip: Tensor | None = None


@dataclass(frozen=True)
class AlgorithmConfig(Variant):
    """Settings that all algorithms share; each adds its own.

    An algorithm that sets `imitates` learns from demonstrations instead of the agent's own
    rollouts.

    Attributes:
        discount: discount factor γ.
        reward_scale: factor on the rewards that are learnt from; reported returns are unscaled.
        novelty: weight of the episodic bonus for novelty, paid the first time in an episode that
            the agent is at a place with what it carries; reported returns exclude it.
        max_grad_norm: norm that each loop's gradient is clipped to.
        anneal_frames: learning rates decay linearly, towards 0 at this many frames, but stop at a
            tenth.
    """

    kind: ClassVar[str] = "algorithm"
    imitates: ClassVar[bool] = False

    discount: float = 0.99
    reward_scale: float = 1.0
    novelty: float = 0.0
    max_grad_norm: float = 0.5
    anneal_frames: int = 1_000_000

    def __post_init__(self) -> None:
        check_between(0, 1, discount=self.discount)
        check_between(0, float("inf"), novelty=self.novelty)
        check_positive(
            reward_scale=self.reward_scale,
            max_grad_norm=self.max_grad_norm,
            anneal_frames=self.anneal_frames,
        )

    def rewards(self, rollout: Rollout) -> Tensor:
        """Rewards to learn from, [T, B]: the environment's, scaled, plus the novelty bonus."""
        rewards = rollout.rewards * self.reward_scale
        return rewards + self.novelty * rollout.novelty if self.novelty else rewards

    def targets(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Advantages and returns of a rollout, [T, B] each."""
        raise NotImplementedError

    def loss(self, output: Output, batch: Sequences, loop: Loop) -> Loss:
        """The loss on a minibatch.

        Args:
            output: the agent's output for the batch.
            batch: spans [S, N], with the advantages and returns of `targets`.
            loop: the loop being trained.
        """
        raise NotImplementedError
