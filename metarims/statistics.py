"""Intervals and entropies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a success rate (Wilson 1927)."""
    rate, z2 = successes / trials, Z95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(
    sample: Sequence[float], resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean (Efron 1979)."""
    values = np.asarray(sample, dtype=np.float64)
    rows = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[rows].mean(1), [0.025, 0.975])
    return float(low), float(high)


def entropy(distribution: Tensor) -> Tensor:
    """Entropy in nats over the last axis, [..., n] to [...]; 0 log 0 is 0."""
    return -torch.xlogy(distribution, distribution).sum(-1)


def module_choices(diagnostics: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Each choice among modules by name: ``module_mask`` and ``module_probabilities``, [T, B, n].

    There is one, "modules", or one at each depth of a routing network, "modules/depth_i", or none.
    """
    if "module_mask" not in diagnostics:
        return {}
    mask, probabilities = diagnostics["module_mask"], diagnostics["module_probabilities"]
    if mask.dim() == 3:
        return {"modules": (mask, probabilities)}
    return {
        f"modules/depth_{i}": (mask[:, :, i], probabilities[:, :, i]) for i in range(mask.shape[2])
    }


def module_figures(mask: Tensor, probabilities: Tensor) -> dict[str, Tensor]:
    """Who works, and how much that depends on the input (Kirsch et al. 2018, §4.2).

    Args:
        mask: bool [T, B, n], the active modules.
        probabilities: float [T, B, n], the choice's distribution over modules.

    Returns:
        ``use_j``: the share of steps that module j was active in; ``H_A``: the entropy in nats of
        the mean distribution; ``H_A_given_X``: the mean entropy of a step's; ``information``: their
        difference, the mutual information; ``dead``: how many modules were active in under one step
        of a thousand.
    """
    use = mask.flatten(0, 1).double().mean(0)
    rows = probabilities.flatten(0, 1).double()
    together, apart = entropy(rows.mean(0)), entropy(rows).mean()
    figures = {f"use_{j}": share for j, share in enumerate(use)}
    return figures | {
        "H_A": together,
        "H_A_given_X": apart,
        "information": together - apart,
        "dead": (use < 1e-3).sum(),
    }
