"""A decision maker of one's own: softmax policy iteration, from a file outside the package."""

from dataclasses import dataclass

import torch

from agents.cores.routing.makers import DecisionMaker, MakerConfig
from metarims.errors import check_positive
from metarims.registry import register


@register("decision maker", "own")
@dataclass(frozen=True)
class OwnConfig(MakerConfig):
    """Its settings: how sharply it prefers what earns more."""

    sharpness: float = 3.0

    def __post_init__(self):
        check_positive(sharpness=self.sharpness)

    def build(self, space, available):
        return Own(self, space)


class Own(DecisionMaker):
    """Scores are what choices earn on average, learnt by regression."""

    config: OwnConfig

    def policy(self, scores):
        return (self.config.sharpness * scores).softmax(-1)

    def learn(self, trace):
        return torch.square(trace.returns - trace.chosen(trace.scores)).sum(1).mean()
