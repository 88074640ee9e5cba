"""An episodic bonus for novelty: the first time in an episode at a place with what is carried.

Of the bonuses compared by Wang et al. (Revisiting Intrinsic Reward for Exploration in Procedurally
Generated Environments, 2023), episodic ones alone do best. The bonus is added to the rewards that
are learnt from, never to those that are reported. What counts is where the agent is and what it
carries: with a key all places are new again, and so are those behind a door. Counting views as well
rewards turning round and dropping things elsewhere, and a bonus that falls with the count, 1/√n,
rewards wandering: `docs/results/learning.md` has the cost of each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .protocols import Environment

SLOTS = 4096  # of an environment's hash table; situations in one slot count as the same
HASH_BASE = 0x2545F4914F6CDD1D


def nothing_seen(env: Environment, wanted: bool) -> Tensor:
    """Empty tables of visited situations, bool [B, SLOTS], or [B, 0] if not wanted."""
    return torch.zeros(env.num_envs, SLOTS if wanted else 0, dtype=torch.bool, device=env.device)


def see(seen: Tensor, env: Environment, starts: Tensor) -> Tensor:
    """Mark the agents' situations as visited, in place; returns the bonus.

    Args:
        seen: bool [B, SLOTS], what each environment has visited in its episode.
        env: the environments, for their `situations`.
        starts: bool [B], where an episode begins: the table is cleared, and there is no bonus.

    Returns:
        float32 [B], 1 for a first visit, else 0.
    """
    seen.masked_fill_(starts.unsqueeze(1), False)
    slot = slots_of(env.situations).unsqueeze(1)
    new = ~seen.gather(1, slot).squeeze(1) & ~starts
    seen.scatter_(1, slot, True)
    return new.float()


def slots_of(situations: Tensor) -> Tensor:
    """The hash slot of each situation, int64 [B]."""
    return situations * HASH_BASE >> 40 & SLOTS - 1
