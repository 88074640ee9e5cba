"""An episodic bonus for what is new: for the first time in an episode of a view from a place.

Of the bonuses compared by Wang et al. (Revisiting Intrinsic Reward for Exploration in Procedurally
Generated Environments, 2023) episodic ones alone do best. It is added to rewards that are learnt
from, never to those that are reported. A bonus that falls with the count, 1/√n, pays for wandering
about as well: DoorKey-8x8, learnt by the first time's in 200,000 frames, was not learnt by it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .protocols import Environment, Observation

SLOTS = 4096  # of an environment's table; what falls into one slot counts as the same
HASH_BASE = 0x2545F4914F6CDD1D


def nothing_seen(env: Environment, wanted: bool) -> Tensor:
    """Tables of what has been seen, bool [B, SLOTS], or [B, 0] where they are not wanted."""
    return torch.zeros(env.num_envs, SLOTS if wanted else 0, dtype=torch.bool, device=env.device)


def see(seen: Tensor, env: Environment, obs: Observation, starts: Tensor) -> Tensor:
    """Note what is seen, in place; the bonus for having come there.

    Args:
        seen: bool [B, SLOTS], what each environment's episode has seen.
        env: the environments, for their `places`.
        obs: what they see, of which ``image`` and ``direction`` count, [B, ...].
        starts: bool [B]; an episode begins with it: nothing is known yet, and there is no bonus.

    Returns:
        float32 [B], 1 for the first time, else 0.
    """
    seen.masked_fill_(starts.unsqueeze(1), False)
    slot = slots_of(obs, env.places).unsqueeze(1)
    new = ~seen.gather(1, slot).squeeze(1) & ~starts
    seen.scatter_(1, slot, True)
    return new.float()


def slots_of(obs: Observation, places: Tensor) -> Tensor:
    """Which slot each view from each place falls into, int64 [B]."""
    view = obs["image"].flatten(1).long()
    seen = torch.cat([view, obs["direction"].long().unsqueeze(1), places.unsqueeze(1)], 1)
    powers = torch.full_like(seen[0], HASH_BASE).cumprod(0)
    return (seen * powers).sum(1) >> 40 & SLOTS - 1
