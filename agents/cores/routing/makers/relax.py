"""RELAX."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.errors import check_positive
from metarims.registry import register

from ..trace import Space, Trace, gumbel
from .base import DecisionMaker, MakerConfig


@register("decision maker", "relax")
@dataclass(frozen=True)
class RELAXConfig(MakerConfig):
    """Settings of RELAX.

    Attributes:
        temperature: τ of the softmax that the control variate takes.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return RELAX(self, space)


class RELAX(DecisionMaker):
    """RELAX (Grathwohl et al. 2018): REINFORCE with a learnt control variate c.

    g = (R − c(z̃)) ∇ log π(a) + ∇ c(z) − ∇ c(z̃), where z is log π plus Gumbel noise and z̃ is z
    redrawn given the choice; c, a small network on softmax(z / τ), minimises the variance of g.
    Unbiased for decisions drawn with `noise`.
    """

    config: RELAXConfig
    draws = 2

    def __init__(self, config: RELAXConfig, space: Space) -> None:
        super().__init__(config, space)
        self.row = nn.Embedding(space.routing_agents * space.depth, 32)
        self.hidden = nn.Linear(space.choices, 32, bias=False)
        self.output = nn.Linear(32, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def learn(self, trace: Trace) -> Tensor:
        """A loss with gradient −g for the scores, plus E[g²] for the control variate."""
        scores = trace.scores.detach().requires_grad_()
        with torch.enable_grad():
            gain = self.gradient(scores, trace)
        return gain.square().sum((1, 2)).mean() - (gain.detach() * trace.scores).sum((1, 2)).mean()

    def gradient(self, scores: Tensor, trace: Trace) -> Tensor:
        """g, [N, depth, K]; it depends on the control variate's parameters."""
        log_policy = scores.log_softmax(-1)
        soft = self._surrogate(log_policy + gumbel(trace.noise[:, :, 0]), trace)
        again = self._surrogate(redrawn(log_policy, trace.choices, trace.noise[:, :, 1]), trace)
        (score,) = torch.autograd.grad(trace.chosen(log_policy).sum(), scores, create_graph=True)
        (control,) = torch.autograd.grad((soft - again).sum(), scores, create_graph=True)
        return (trace.returns - again).unsqueeze(-1) * score + control

    def _surrogate(self, z: Tensor, trace: Trace) -> Tensor:
        """c(z), [N, depth]."""
        soft = (z / self.config.temperature).softmax(-1)
        hidden = torch.tanh(self.hidden(soft) + self.row(trace.rows))
        c: Tensor = self.output(hidden).squeeze(-1)
        return c


def redrawn(log_policy: Tensor, choices: Tensor, noise: Tensor) -> Tensor:
    """log π plus Gumbel noise given which is the largest, [..., K] (Tucker et al. 2017, app. C).

    Args:
        log_policy: [..., K].
        choices: int64 [...].
        noise: uniform [..., K].
    """
    clock = -noise.clamp(1e-20, 1 - 1e-7).log()  # exponential
    first = clock.gather(-1, choices.unsqueeze(-1))
    later = -(clock * (-log_policy).clamp_max(60).exp() + first).log()
    return torch.where(F.one_hot(choices, noise.shape[-1]).bool(), -first.log(), later)
