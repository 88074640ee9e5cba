"""Losses and figures of policies and values: pure functions of tensors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def log_prob_of(log_probs: Tensor, actions: Tensor) -> Tensor:
    """log π(a): log-probabilities [..., A] of all actions, int64 [...] to [...]."""
    return log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def entropy_of(log_probs: Tensor) -> Tensor:
    """Entropy of the policy in nats: log-probabilities [..., A] of all actions to [...]."""
    return -(log_probs.exp() * log_probs).sum(-1)


def log_barrier_of(log_probs: Tensor) -> Tensor:
    """KL(uniform ‖ π) in nats, Agarwal et al. 2021's log barrier: log-probabilities [..., A] of all
    actions to [...].

    The pull on an action that has become rare stays, where that of the entropy fades with it.
    """
    return -log_probs.mean(-1) - math.log(log_probs.shape[-1])


def clipped_policy_loss(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """−L^CLIP (eq. 7): the mean of −min(r Â, clip(r, 1 − ε, 1 + ε) Â) over all elements."""
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


def squared_value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """L^VF (eq. 9), halved: the mean of ½ (V − R)²."""
    return 0.5 * F.mse_loss(values, returns)


def approximate_kl(log_ratio: Tensor) -> Tensor:
    """KL(old ‖ new) from the old policy's samples: the mean of r − 1 − log r, never negative."""
    return (log_ratio.exp() - 1 - log_ratio).mean()


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """1 − Var(R − V) / Var(R); 1 is perfect, below 0 worse than the mean."""
    return 1 - (returns - values).var() / returns.var().clamp_min(1e-12)


def mean_where(x: Tensor, where: Tensor) -> Tensor:
    """The mean of the elements where a bool tensor like it holds, 0 where it holds nowhere."""
    return (x * where).sum() / where.sum().clamp_min(1)


def variance_where(x: Tensor, where: Tensor) -> Tensor:
    """Their variance, likewise."""
    return mean_where((x - mean_where(x, where)).square(), where)
