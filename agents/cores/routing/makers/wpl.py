"""The weighted policy learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metarims.errors import check_choice, check_positive
from metarims.registry import register

from ..trace import Averages, Space, Trace, mean_by
from .base import DecisionMaker, MakerConfig


@register("decision maker", "wpl")
@dataclass(frozen=True)
class WPLConfig(MakerConfig):
    """Settings of the weighted policy learner.

    Attributes:
        rate: learning rate λ_π, also of the running averages of returns.
        weighting: how changes are weighted: "algorithm" (Algorithm 3) or "appendix" (§7.4).
    """

    tabular: ClassVar[bool] = True

    rate: float = 0.1
    weighting: str = "algorithm"

    def __post_init__(self) -> None:
        check_positive(rate=self.rate)
        check_choice("weighting", self.weighting, WEIGHTINGS)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return WPL(self, space, available)


class WPL(DecisionMaker):
    """The weighted policy learner (Abdallah & Lesser 2006; Rosenbaum et al. 2018, Algorithm 3).

    Its scores are the policy itself, a table. The paper weights changes in two opposite ways:
    Algorithm 3 positive ones by π(a) and negative ones by 1 − π(a), §7.4 (and Abdallah & Lesser)
    the other way round. In a batch, the mean change of a routing agent's choices is weighted; with
    a batch of one this is Algorithm 3, line by line.
    """

    config: WPLConfig
    available: Tensor

    def __init__(self, config: WPLConfig, space: Space, available: Tensor) -> None:
        super().__init__(config, space)
        self.averages = Averages(space, config.rate)
        self.register_buffer("available", available, persistent=False)

    def first_scores(self, available: Tensor) -> Tensor:
        """Every choice equally likely, [depth, K]."""
        return project(available.float(), available)

    def policy(self, scores: Tensor) -> Tensor:
        """The scores [..., K] themselves; 0 for choices that do not exist."""
        return scores.clamp_min(0)

    @torch.no_grad()
    def learn(self, trace: Trace) -> Tensor:
        """Lines 1 to 13; the loss left to minimise is 0."""
        table = trace.table
        if table is not None and table.requires_grad:
            surprise = trace.returns - self.averages.follow(trace)  # lines 5 and 7
            slots = trace.rows * self.space.choices + trace.choices
            change, sizes = mean_by(slots, surprise, table.numel())
            change, sizes = change.view_as(table), sizes.view_as(table)
            change = change * sizes / sizes.sum(-1, keepdim=True).clamp_min(1)
            step = self.config.rate * WEIGHTINGS[self.config.weighting](change, table)
            table.copy_(project(table + step, self.available))
        return torch.zeros((), device=trace.scores.device)


def weight_as_algorithm(change: Tensor, policy: Tensor) -> Tensor:
    """Algorithm 3, lines 9 to 12: gains by π(a), losses by 1 − π(a); [..., K]."""
    return change * torch.where(change < 0, 1 - policy, policy)


def weight_as_appendix(change: Tensor, policy: Tensor) -> Tensor:
    """§7.4: gains by 1 − π(a), losses by π(a); [..., K]."""
    return change * torch.where(change < 0, policy, 1 - policy)


WEIGHTINGS = {"appendix": weight_as_appendix, "algorithm": weight_as_algorithm}


def project(policy: Tensor, available: Tensor) -> Tensor:
    """clip(π) / Σ clip(π), clip to [0, 1] (Algorithm 3); uniform where nothing is left.

    Args:
        policy: [..., K].
        available: bool [..., K], broadcast; the others are 0.
    """
    there = available.to(policy).expand_as(policy)
    clipped = policy.clamp(0, 1) * there
    total = clipped.sum(-1, keepdim=True)
    return torch.where(total > 0, clipped, there) / torch.where(
        total > 0, total, there.sum(-1, keepdim=True)
    )
