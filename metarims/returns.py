"""Advantages and finished episodes of a rollout: pure functions of tensors [T, B]."""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """GAE (Schulman et al. 2016, eq. 16).

    Â_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ V(s_{t+1}) − V(s_t).

    Args:
        rewards, values: float [T, B].
        next_values: [T, B], V of the state that each step led to: at a truncation that of the
            episode's last observation, at step T − 1 that of the next observation.
        terminated: bool [T, B]; no bootstrapping there, truncated or not.
        truncated: bool [T, B]; the sum over l ends, bootstrapped with V.

    Returns:
        Advantages [T, B]; plus the values, they are the returns to learn V from.
    """
    deltas = rewards + discount * next_values * ~terminated - values
    carries = discount * gae_lambda * (~(terminated | truncated)).to(rewards.dtype)
    advantage = torch.zeros_like(deltas[0])
    advantages = []
    for delta, carry in zip(reversed(deltas.unbind(0)), reversed(carries.unbind(0)), strict=True):
        advantage = delta + carry * advantage
        advantages.append(advantage)
    return torch.stack(advantages[::-1])


def finished_episodes(
    rewards: Tensor, ended: Tensor, so_far: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns and lengths of the episodes that end in a rollout.

    Args:
        rewards: float [T, B].
        ended: bool [T, B].
        so_far: float64 [2, B], return and length of each unfinished episode before the rollout.

    Returns:
        Returns and lengths, float64 [T, B] each, valid where `ended`; and the next `so_far`.
    """
    steps = torch.stack([rewards.double(), torch.ones_like(rewards, dtype=torch.float64)], 1)
    totals = []
    for step, going in zip(steps.unbind(0), (~ended).double().unbind(0), strict=True):
        total = so_far + step
        totals.append(total)
        so_far = total * going
    returns, lengths = torch.stack(totals).unbind(1)
    return returns, lengths, so_far
