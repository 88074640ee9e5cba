"""The trajectory of routing decisions as tensors, and how a choice is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNAVAILABLE = -1e9  # score of a choice that does not exist; infinity would make gradients NaN


@dataclass(frozen=True)
class Space:
    """The size of a routing problem.

    Attributes:
        routing_agents: number of routing agents, each deciding for its own samples.
        depth: number of decisions in a row.
        choices: number of choices, at the depth with the most.
        keys: number of samples, or groups of them, that paths are remembered for.
    """

    routing_agents: int = 1
    depth: int = 1
    choices: int = 2
    keys: int = 1


@dataclass(frozen=True)
class Trace:
    """N samples' decisions and their rewards (Algorithm 2 of Rosenbaum et al. 2018).

    Attributes:
        scores: [N, depth, C], the current router's, with gradient; C is K and the decision maker's
            `extra` ones.
        choices: int64 [N, depth].
        log_probs: [N, depth], of the choices when they were made.
        noise: [N, depth, draws, K], the uniform numbers that they were drawn with.
        routing_agents: int64 [N], which decided.
        keys: int64 [N], the sample, or its group.
        rewards: [N, depth], of each decision.
        final: [N], of the whole path.
        discount: γ between decisions.
        table: [routing agents, depth, C], the parameter that scores were read from, if one was.
    """

    scores: Tensor
    choices: Tensor
    log_probs: Tensor
    noise: Tensor
    routing_agents: Tensor
    keys: Tensor
    rewards: Tensor
    final: Tensor
    discount: float = 1.0
    table: Tensor | None = None

    @property
    def returns(self) -> Tensor:
        """R_i = r_final + Σ_{j ≥ i} γ^{j − i} r_j, [N, depth] (Algorithm 3, line 3)."""
        total, totals = torch.zeros_like(self.final), []
        for reward in reversed(self.rewards.unbind(1)):
            total = reward + self.discount * total
            totals.append(total)
        return torch.stack(totals[::-1], 1) + self.final.unsqueeze(1)

    @property
    def rows(self) -> Tensor:
        """int64 [N, depth]: routing agent and depth as one number, a table's row."""
        who, depth = self.routing_agents, self.choices.shape[1]
        return who.unsqueeze(1) * depth + torch.arange(depth, device=who.device)

    def chosen(self, values: Tensor) -> Tensor:
        """Values [N, depth, ≥K] at the choices, [N, depth]."""
        return values.gather(2, self.choices.unsqueeze(2)).squeeze(2)


class Averages(nn.Module):
    """A running average of the returns for each routing agent and depth, initially 0."""

    values: Tensor

    def __init__(self, space: Space, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("values", torch.zeros(space.routing_agents * space.depth))

    def follow(self, trace: Trace) -> Tensor:
        """Move towards the trace's mean returns; return the new averages [N, depth]."""
        means, seen = mean_by(trace.rows, trace.returns, len(self.values))
        moved = torch.lerp(self.values, means.to(self.values), self.rate)
        self.values.copy_(torch.where(seen > 0, moved, self.values))
        return self.values[trace.rows]


def mean_by(groups: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean of `values` in each of `count` groups, 0 in an empty one, and the groups' sizes.

    Groups int64 and values [...] to means and sizes [count].
    """
    groups, values = groups.flatten(), values.detach().flatten()
    sizes = torch.zeros(count, device=values.device, dtype=values.dtype)
    sums = torch.zeros_like(sizes).index_add_(0, groups, values)
    sizes.index_add_(0, groups, torch.ones_like(values))
    return sums / sizes.clamp_min(1), sizes


def gumbel(noise: Tensor) -> Tensor:
    """Standard Gumbel numbers from uniform ones, [...] to [...]."""
    tiny = torch.finfo(noise.dtype).tiny
    return -(-noise.clamp(tiny, 1 - 1e-7).log()).log()


def draw(probs: Tensor, noise: Tensor) -> Tensor:
    """Choices int64 [...] from distributions and uniform numbers [..., K] (Gumbel-max trick)."""
    return (probs.clamp_min(1e-30).log() + gumbel(noise)).masked_fill(probs <= 0, -1e30).argmax(-1)


def all_on_best(scores: Tensor) -> Tensor:
    """The distribution [..., K] with all probability on the highest of scores [..., K]."""
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores)
