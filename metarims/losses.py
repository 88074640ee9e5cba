"""Losses and figures of policies and values: pure functions of tensors."""

from __future__ import annotations

import math
from typing import NamedTuple

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

    Its gradient for an action that has become rare persists, while the entropy's vanishes.
    """
    return -log_probs.mean(-1) - math.log(log_probs.shape[-1])


def clipped_policy_loss(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """−L^CLIP (eq. 7): the mean of −min(r Â, clip(r, 1 − ε, 1 + ε) Â) over all elements."""
    return -torch.min(*_gains(ratio, advantages, clip)).mean()


def _gains(ratio: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """r Â, and the same with the clipped ratio."""
    return ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages


class PolicyLoss(NamedTuple):
    """A policy's loss, its parts, each a scalar mean, and the ratios [...]."""

    total: Tensor
    surrogate: Tensor
    entropy: Tensor
    barrier: Tensor
    ratio: Tensor


def policy_loss_of(
    logits: Tensor,
    actions: Tensor,
    log_probs: Tensor,
    advantages: Tensor,
    clip: float,
    entropy: float,
    barrier: float,
) -> PolicyLoss:
    """−L^CLIP − entropy · S + barrier · KL(uniform ‖ π); only the total has a gradient.

    The gradient is computed with the loss, as autograd would take longer than both. With an
    action's pull its ratio times its advantage, or 0 where that is clipped, the derivative by a
    logit z_k is −pull · (1[k = a] − π_k) + entropy · π_k (log π_k + S) + barrier · (π_k − 1/A),
    divided by the number of elements.

    Args:
        logits: [..., A].
        actions, log_probs, advantages: of the actions taken, [...].
        clip: ε of the ratio.
        entropy, barrier: weights.
    """
    with torch.no_grad():
        now, probs = log_softmax(logits)
        ratio, spread = (log_prob_of(now, actions) - log_probs).exp(), -(probs * now).sum(-1)
        gain, most = _gains(ratio, advantages, clip)
        pull = torch.where(gain > most, 0.0, gain).unsqueeze(-1)
        slope = probs * (pull + barrier + entropy * (now + spread.unsqueeze(-1)))
        done = actions.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)
        slope = slope - pull * done - barrier / logits.shape[-1]
        parts = -torch.min(gain, most).mean(), spread.mean(), log_barrier_of(now).mean()
        total = parts[0] - entropy * parts[1] + barrier * parts[2]
    return PolicyLoss(given_slope(total, logits, slope / actions.numel()), *parts, ratio)


def log_softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities and probabilities, [..., A]: on a CPU, torch's own takes three times as
    long for a few actions.
    """
    beyond = logits - logits.amax(-1, keepdim=True)
    odds = beyond.exp()
    total = odds.sum(-1, keepdim=True)
    return beyond - total.log(), odds / total


def given_slope(value: Tensor, x: Tensor, slope: Tensor) -> Tensor:
    """The scalar `value`, with `slope`, shaped like x, as its gradient in x."""
    along = (x * slope).sum()
    return value + (along - along.detach())


def squared_value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """L^VF (eq. 9), halved: the mean of ½ (V − R)²."""
    return 0.5 * F.mse_loss(values, returns)


def approximate_kl(ratio: Tensor) -> Tensor:
    """KL(old ‖ new) from the old policy's samples: the mean of r − 1 − log r, never negative."""
    return (ratio - 1 - ratio.log()).mean()


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """1 − Var(R − V) / Var(R); 1 is perfect, below 0 worse than the mean."""
    return 1 - (returns - values).var() / returns.var().clamp_min(1e-12)


def mean_where(x: Tensor, where: Tensor) -> Tensor:
    """Mean over the elements where a bool tensor of the same shape is true; 0 if there are none."""
    return (x * where).sum() / where.sum().clamp_min(1)


def variance_where(x: Tensor, where: Tensor) -> Tensor:
    """Variance over these elements."""
    return mean_where((x - mean_where(x, where)).square(), where)
