"""An episodic bonus for what is new: counts of what an episode has seen, and from where.

Of the bonuses compared by Wang et al. (Revisiting Intrinsic Reward for Exploration in Procedurally
Generated Environments, 2023) episodic counts alone do best; they are added to rewards that are
learnt from, never to those that are reported.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .protocols import Environment, Observation

SLOTS = 4096  # of an environment's table of counts; what falls into one slot counts as the same
HASH_BASE = 0x2545F4914F6CDD1D


def first_counts(env: Environment, counted: bool) -> Tensor:
    """No counts yet: int16 [B, SLOTS], or [B, 0] where nothing is counted."""
    return torch.zeros(env.num_envs, SLOTS if counted else 0, dtype=torch.int16, device=env.device)


def count_visits(counts: Tensor, env: Environment, obs: Observation, starts: Tensor) -> Tensor:
    """Count what is seen, in place; the bonus for having come there.

    Args:
        counts: int16 [B, SLOTS], how often each environment's episode has been where.
        env: the environments, for their `places`.
        obs: what they see, of which ``image`` and ``direction`` count, [B, ...].
        starts: bool [B]; an episode begins with it: its counts do, too, and there is no bonus.

    Returns:
        float32 [B], 1/√n at the n-th visit.
    """
    counts.masked_fill_(starts.unsqueeze(1), 0)
    slot = slots_of(obs, env.places).unsqueeze(1)
    visits = counts.gather(1, slot) + 1
    counts.scatter_(1, slot, visits)
    return visits.squeeze(1).float().rsqrt().masked_fill(starts, 0.0)


def slots_of(obs: Observation, places: Tensor) -> Tensor:
    """Which slot each view from each place falls into, int64 [B]."""
    view = obs["image"].flatten(1).long()
    seen = torch.cat([view, obs["direction"].long().unsqueeze(1), places.unsqueeze(1)], 1)
    powers = torch.full_like(seen[0], HASH_BASE).cumprod(0)
    return (seen * powers).sum(1) >> 40 & SLOTS - 1
