"""What every algorithm has, and what it is asked for."""

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
    """What an algorithm makes of one minibatch.

    Attributes:
        total: the scalar to descend.
        figures: scalars to report, by name.
        skip: bool scalar; where true the step is not taken.
    """

    total: Tensor
    figures: Figures
    skip: Tensor | None = None


@dataclass(frozen=True)
class AlgorithmConfig(Variant):
    """Settings of all algorithms; one of its own adds to them.

    One that sets `imitates` learns from demonstrations in place of the agent's own rollouts.

    Attributes:
        discount: γ.
        reward_scale: factor on rewards in the loss; reported returns are the environment's.
        novelty: weight of the bonus for what is new in an episode, the first time at a place with
            what is carried; it is learnt from, and reported apart.
        max_grad_norm: each loop's gradient is clipped to this norm.
        anneal_frames: frames over which learning rates fall to a tenth, linearly; there they stay.
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
        """What is learnt from, [T, B]: the environment's, scaled, and the bonus for what is new."""
        rewards = rollout.rewards * self.reward_scale
        return rewards + self.novelty * rollout.novelty if self.novelty else rewards

    def targets(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """What to learn from a rollout: advantages and returns, [T, B] each."""
        raise NotImplementedError

    def loss(self, output: Output, batch: Sequences, loop: Loop) -> Loss:
        """What to descend.

        Args:
            output: the agent's for the batch.
            batch: spans [S, N], with the advantages and returns that `targets` gave.
            loop: the one that learns.
        """
        raise NotImplementedError
