"""Expectation maximisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarims.errors import UsageError, check_between, check_positive
from metarims.registry import register

from ..trace import Space, Trace, mean_by
from .base import DecisionMaker, MakerConfig


@register("decision maker", "em")
@dataclass(frozen=True)
class EMConfig(MakerConfig):
    """Settings of expectation maximisation.

    Attributes:
        top: number of paths remembered for each key.
        average: weight of the new return when a remembered path is taken again.
    """

    top: int = 1
    average: float = 0.1

    def __post_init__(self) -> None:
        check_positive(top=self.top, average=self.average)
        check_between(0, 1, average=self.average)

    def build(self, space: Space, available: Tensor) -> DecisionMaker:
        """As `MakerConfig.build`."""
        return EM(self, space)


class EM(DecisionMaker):
    """Hard expectation maximisation with a buffer of the best paths (Kirsch et al. 2018).

    E: each key remembers the `top` paths with the highest returns; when one is taken again its
    returns are averaged, so that luck is forgotten. M: raise log π of remembered paths. Half of the
    samples take a remembered path, so that blocks are trained on it too.
    """

    config: EMConfig
    draws = 2
    paths: Tensor
    returns: Tensor
    powers: Tensor

    def __init__(self, config: EMConfig, space: Space) -> None:
        super().__init__(config, space)
        if space.keys * space.choices**space.depth >= 2**63:
            paths = f"{space.keys} · {space.choices}^{space.depth}"
            raise UsageError(
                f"em numbers fewer than 2^63 paths, got {paths}: take fewer blocks or a lower depth"
            )
        self.register_buffer("paths", torch.full((space.keys, config.top), -1))
        self.register_buffer("returns", torch.full((space.keys, config.top), -torch.inf))
        powers = torch.tensor([space.choices**i for i in range(space.depth)])
        self.register_buffer("powers", powers, persistent=False)

    def propose(self, keys: Tensor, noise: Tensor) -> Tensor | None:
        """For half of the samples one of the key's remembered paths, drawn uniformly."""
        paths, u = self.paths[keys], noise[:, 0, 1]
        known = (paths >= 0).sum(1)
        which = (u[:, 1] * known).long().unsqueeze(1)
        path = paths.gather(1, which) // self.powers % self.space.choices
        return torch.where(((u[:, 0] < 0.5) & (known > 0)).unsqueeze(1), path, -1)

    def learn(self, trace: Trace) -> Tensor:
        """−log π of those of the samples' paths that are remembered."""
        paths = (trace.choices * self.powers).sum(1)
        if trace.scores.requires_grad:
            self._remember(trace.keys, paths, trace.returns[:, 0])
        best = (self.paths[trace.keys] == paths.unsqueeze(1)).any(1).to(trace.scores)
        return -(best * trace.chosen(trace.scores.log_softmax(-1)).sum(1)).mean()

    @torch.no_grad()
    def _remember(self, keys: Tensor, paths: Tensor, returns: Tensor) -> None:
        """Merge paths int64 [N] and returns [N] with those that keys remember; keep the best."""
        base = self.space.choices**self.space.depth
        new, which = torch.unique(keys * base + paths, return_inverse=True)
        means = mean_by(which, returns, len(new))[0].to(self.returns)
        touched = torch.unique(keys)
        held, old = self.paths[touched], self.returns[touched][self.paths[touched] >= 0]
        ids = (touched.unsqueeze(1) * base + held)[held >= 0]
        at = torch.searchsorted(new, ids).clamp_max(len(new) - 1)
        old = torch.where(new[at] == ids, torch.lerp(old, means[at], self.config.average), old)
        fresh = ~torch.isin(new, ids)
        ids, earned = torch.cat([ids, new[fresh]]), torch.cat([old, means[fresh]])
        order = earned.argsort(descending=True, stable=True)
        order = order[(ids[order] // base).argsort(stable=True)]
        ids, earned = ids[order], earned[order]
        key = ids // base
        rank = torch.arange(len(key), device=key.device) - torch.searchsorted(key, key)
        kept = rank < self.config.top
        self.paths[touched] = -1
        self.paths[key[kept], rank[kept]] = ids[kept] % base
        self.returns[key[kept], rank[kept]] = earned[kept]
