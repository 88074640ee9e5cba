"""The interface of decision makers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.settings import Variant

from ..trace import Space, Trace, draw


@dataclass(frozen=True)
class MakerConfig(Variant):
    """A decision maker's settings, which build it.

    Attributes:
        tabular: whether it learns tables only.
    """

    kind: ClassVar[str] = "decision maker"
    tabular: ClassVar[bool] = False

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """The decision maker with fresh parameters.

        Args:
            space: the size of the routing problem.
            available: bool [depth, K], the choices that exist.
        """
        raise NotImplementedError


class DecisionMaker(nn.Module):
    """How to choose by scores, and how to learn from the rewards.

    Attributes:
        extra: number of scores besides one for each choice.
        draws: uniform numbers that a decision takes for each choice.
        relaxed: whether blocks are weighted by `weights`, so that the loss trains the scores.
    """

    extra = 0
    draws = 1
    relaxed = False

    def __init__(self, config: MakerConfig, space: Space) -> None:
        super().__init__()
        self.config, self.space = config, space

    def first_scores(self, available: Tensor) -> Tensor:
        """A table's initial rows [depth, C], for the choices that exist, bool [depth, K]."""
        return torch.zeros(*available.shape[:-1], available.shape[-1] + self.extra)

    def policy(self, scores: Tensor) -> Tensor:
        """The probabilities that are learnt: scores [..., C] to [..., K]."""
        return scores.softmax(-1)

    def behaviour(self, scores: Tensor) -> Tensor:
        """The probabilities that choices are drawn from: scores [..., C] to [..., K]."""
        return self.policy(scores)

    def choose(self, scores: Tensor, noise: Tensor) -> Tensor:
        """Choices int64 [N] by scores [N, C] and uniform numbers [N, draws, K]."""
        return draw(self.behaviour(scores), noise[:, 0])

    def propose(self, keys: Tensor, noise: Tensor) -> Tensor | None:
        """Paths int64 [N, depth] to take whatever the scores, −1 where scores decide; None if none.

        Args:
            keys: int64 [N].
            noise: uniform [N, decisions, draws, K].
        """
        return None

    def weights(self, scores: Tensor, choices: Tensor, noise: Tensor) -> Tensor:
        """Weights [N, K] of the blocks' outputs: one-hot at the choices int64 [N]."""
        return F.one_hot(choices, scores.shape[-1] - self.extra).to(scores)

    def learn(self, trace: Trace) -> Tensor:
        """The loss to minimise; tables with an update rule of their own are updated at once."""
        raise NotImplementedError
