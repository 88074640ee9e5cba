"""Intervals and entropies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy  # loads scipy.stats, which takes a second to import, on first use
import torch
from torch import Tensor

DEAD = 0.01  # share of steps; a module that is active in fewer is dead
Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a success rate (Wilson 1927)."""
    rate, z2 = successes / trials, Z95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(sample: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean (Efron 1979)."""
    return _middle(_resampled(sample, np.random.default_rng(seed)).mean(1))


def entropy(distribution: Tensor) -> Tensor:
    """Entropy in nats over the last axis, [..., n] to [...]; 0 log 0 is 0."""
    return -torch.xlogy(distribution, distribution).sum(-1)


def module_choices(diagnostics: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Each choice among modules by name: ``module_mask`` and ``module_probabilities``, [T, B, n].

    There is one, "modules", or one per depth of a routing network, "modules/depth_i", or none.
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
    """Which modules are active, and how much that depends on the input (Kirsch et al. 2018, §4.2).

    Args:
        mask: bool [T, B, n], the active modules.
        probabilities: float [T, B, n], the distribution over modules behind the choice.

    Returns:
        ``use_j``: share of steps in which module j was active; ``H_A``: entropy in nats of the mean
        distribution; ``H_A_given_X``: mean entropy of the single steps' distributions;
        ``information``: their difference, the mutual information; ``dead``: number of modules
        active in less than one step in a hundred.
    """
    use = mask.flatten(0, 1).double().mean(0)
    rows = probabilities.flatten(0, 1).double()
    together, apart = entropy(rows.mean(0)), entropy(rows).mean()
    figures = {f"use_{j}": share for j, share in enumerate(use)}
    return figures | {
        "H_A": together,
        "H_A_given_X": apart,
        "information": together - apart,
        "dead": (use < DEAD).sum(),
    }


# --- over runs (Agarwal et al., Deep RL at the Edge of the Statistical Precipice, 2021) ----------


# A run's scores on several levels belong together, so runs are resampled with all of theirs; there,
# every level has runs of its own, which are resampled within the level.

Scores = Sequence[float] | Sequence[Sequence[float]]  # [runs], or [runs, levels]


def interquartile_mean(scores: Scores) -> float:
    """The mean of the middle half of all scores together."""
    return float(scipy.stats.trim_mean(np.ravel(scores), 0.25))


def interquartile_interval(scores: Scores, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the interquartile mean over runs."""
    drawn = _resampled(scores, np.random.default_rng(seed)).reshape(RESAMPLES, -1)
    return _middle(scipy.stats.trim_mean(drawn, 0.25, axis=1))


Profile = tuple[np.ndarray, np.ndarray, np.ndarray]  # by threshold: share and its 95 % interval


def performance_profile(scores: Scores, thresholds: np.ndarray, seed: int = 0) -> Profile:
    """The share of all scores above each threshold, [n], with pointwise 95 % percentile bootstrap
    intervals over runs.
    """
    drawn = _resampled(scores, np.random.default_rng(seed)).reshape(RESAMPLES, -1)
    share = np.array([(np.ravel(scores) > threshold).mean() for threshold in thresholds])
    shares = np.stack([(drawn > threshold).mean(1) for threshold in thresholds])
    low, high = np.quantile(shares, [0.025, 0.975], axis=1)
    return share, low, high


def improvement(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The probability that a run of ours is better than one of theirs; ties count half."""
    return float(_wins(np.asarray(ours)[None], np.asarray(theirs)[None])[0])


def improvement_interval(
    ours: Sequence[float], theirs: Sequence[float], seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of `improvement`."""
    random = np.random.default_rng(seed)
    return _middle(_wins(_resampled(ours, random), _resampled(theirs, random)))


RESAMPLES = 2000


def _resampled(sample: Scores, random: np.random.Generator) -> np.ndarray:
    """Bootstrap resamples of the rows, [RESAMPLES, n, ...]."""
    values = np.asarray(sample, dtype=np.float64)
    return values[random.integers(len(values), size=(RESAMPLES, len(values)))]


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """How often a score in [R, n] is larger than one in [R, m], ties counting half, [R]."""
    difference = ours[:, :, None] - theirs[:, None, :]
    return (np.sign(difference) / 2 + 0.5).mean((1, 2))  # type: ignore[no-any-return]


def _middle(drawn: np.ndarray) -> tuple[float, float]:
    """The interval that contains the middle 95 %."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
