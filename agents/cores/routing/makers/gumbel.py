"""Gumbel-softmax."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarims.errors import check_positive
from metarims.registry import register

from ..trace import Space, Trace, gumbel
from .base import DecisionMaker, MakerConfig


@register("decision maker", "gumbel")
@dataclass(frozen=True)
class GumbelConfig(MakerConfig):
    """Settings of Gumbel-softmax.

    Attributes:
        temperature: τ; the lower, the closer to the hard choice.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return Gumbel(self, space)


class Gumbel(DecisionMaker):
    """Straight-through Gumbel-softmax (Jang et al. 2016; Maddison et al. 2016).

    The forward pass takes the hard choice, the backward pass the soft one, so the network's own
    loss trains the scores; every block is computed.
    """

    config: GumbelConfig
    relaxed = True

    def weights(self, scores: Tensor, choices: Tensor, noise: Tensor) -> Tensor:
        """One for the choice, with the gradient of softmax((log π + g) / τ)."""
        soft = ((scores + gumbel(noise[:, 0])) / self.config.temperature).softmax(-1)
        return super().weights(scores, choices, noise) + soft - soft.detach()

    def learn(self, trace: Trace) -> Tensor:
        """0: the network's loss is enough."""
        return trace.scores.new_zeros(())
