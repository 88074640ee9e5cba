"""An episodic bonus for what is new: for the first time in an episode at a place with a thing.

Of the bonuses compared by Wang et al. (Revisiting Intrinsic Reward for Exploration in Procedurally
Generated Environments, 2023) episodic ones alone do best. It is added to rewards that are learnt
from, never to those that are reported. What counts is where the agent is and what it carries: with
a key all places are new again, and those behind a door are. To count views as well pays for turning
about and for putting things down elsewhere, and a bonus that falls with the count, 1/√n, for
wandering about: `docs/results.md` has what each costs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .protocols import Environment

SLOTS = 4096  # of an environment's table; what falls into one slot counts as the same
HASH_BASE = 0x2545F4914F6CDD1D


def nothing_seen(env: Environment, wanted: bool) -> Tensor:
    """Tables of what has been seen, bool [B, SLOTS], or [B, 0] where they are not wanted."""
    return torch.zeros(env.num_envs, SLOTS if wanted else 0, dtype=torch.bool, device=env.device)


def see(seen: Tensor, env: Environment, starts: Tensor) -> Tensor:
    """Note where the agents are, in place; the bonus for having come there.

    Args:
        seen: bool [B, SLOTS], what each environment's episode has seen.
        env: the environments, for their `situations`.
        starts: bool [B]; an episode begins with it: nothing is known yet, and there is no bonus.

    Returns:
        float32 [B], 1 for the first time, else 0.
    """
    seen.masked_fill_(starts.unsqueeze(1), False)
    slot = slots_of(env.situations).unsqueeze(1)
    new = ~seen.gather(1, slot).squeeze(1) & ~starts
    seen.scatter_(1, slot, True)
    return new.float()


def slots_of(situations: Tensor) -> Tensor:
    """Which slot each situation falls into, int64 [B]."""
    return situations * HASH_BASE >> 40 & SLOTS - 1
