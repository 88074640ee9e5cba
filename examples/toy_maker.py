"""A custom decision maker: values of blocks, chosen by softmax at a temperature.

    python run.py train --import examples/toy_maker.py --agent routing \
        --core.router.maker boltzmann --core.router.maker.temperature 0.5 \
        --env MiniGrid-DoorKey-5x5-v0 --out RUN
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.cores.routing.makers import DecisionMaker, MakerConfig
from agents.cores.routing.trace import Space, Trace
from metarims import register


@register("decision maker", "boltzmann")
@dataclass(frozen=True)
class BoltzmannConfig(MakerConfig):
    """Settings of Boltzmann exploration.

    Attributes:
        temperature: τ; the lower, the greedier.
    """

    temperature: float = 1.0

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return Boltzmann(self, space)


class Boltzmann(DecisionMaker):
    """Scores are the expected returns of choices."""

    config: BoltzmannConfig

    def policy(self, scores: Tensor) -> Tensor:
        """softmax(Q / τ), [..., K]."""
        return (scores / self.config.temperature).softmax(-1)

    def learn(self, trace: Trace) -> Tensor:
        """½ (R − Q(a))², summed over depth."""
        error = trace.returns - trace.chosen(trace.scores)
        return 0.5 * error.square().sum(1).mean()
