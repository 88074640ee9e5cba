"""Intervals and entropies against published or hand-made numbers."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from metarims.statistics import (
    bootstrap_interval,
    entropy,
    improvement,
    improvement_interval,
    interquartile_interval,
    interquartile_mean,
    module_figures,
    performance_profile,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (7, 10), (500, 500), (480, 500)])
def test_wilson_equals_scipy(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high))


def test_bootstrap_of_a_fair_coin():
    low, high = bootstrap_interval([0.0, 1.0] * 200)
    half = 1.96 * 0.5 / math.sqrt(400)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.01)
    assert bootstrap_interval([3.0] * 5) == (3.0, 3.0)


def test_entropy_in_nats():
    values = entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert values.tolist() == pytest.approx([math.log(2), 0.0])


def test_modules_that_depend_on_the_input_carry_information():
    probabilities = torch.tensor(
        [[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]]
    )  # two steps, one environment
    figures = module_figures(probabilities > 0, probabilities)
    assert figures["use_0"] == figures["use_1"] == 0.5
    assert figures["dead"] == 1
    assert figures["H_A"].item() == pytest.approx(math.log(2))
    assert figures["H_A_given_X"].item() == 0.0
    assert figures["information"].item() == pytest.approx(math.log(2))


def test_interquartile_mean_leaves_out_the_outer_quarters():
    assert interquartile_mean([0, 1, 2, 100]) == 1.5


def test_a_runs_scores_on_several_levels_are_drawn_together():
    """Runs that are alike on all levels are as uncertain on all of them as on one; runs that are
    equal to each other are not uncertain, however different the levels.
    """
    rates = [0.0] * 4 + [1.0] * 4
    low, high = interquartile_interval(rates)
    assert low < 0.1
    assert high > 0.9
    assert interquartile_interval([[rate] * 4 for rate in rates]) == (low, high)
    assert interquartile_mean([[0.0, 1.0]] * 4) == 0.5
    assert interquartile_interval([[0.0, 1.0]] * 4) == (0.5, 0.5)


def test_a_profile_is_as_uncertain_on_many_levels_as_on_one():
    rates, thresholds = [0.1, 0.2, 0.6, 0.9], np.array([0.0, 0.5])
    one, many = (performance_profile(x, thresholds) for x in (rates, [[r] * 5 for r in rates]))
    for ours, theirs in zip(one, many, strict=True):
        assert ours.tolist() == theirs.tolist()
    share, low, high = one
    assert share.tolist() == [1.0, 0.5]
    assert (low[1], high[1]) == (0.0, 1.0)


def test_the_interval_of_a_normal_sample_is_as_wide_as_it_should_be():
    """The interquartile mean of a normal sample of n deviates by 1.09 / √n or so."""
    sample = torch.randn(400, generator=torch.Generator().manual_seed(1)).tolist()
    low, high = interquartile_interval(sample)
    assert high - low == pytest.approx(2 * 1.96 * 1.09 / 20, rel=0.15)


def test_the_probability_of_improvement_by_hand():
    """Of the four pairs one is won, one is a tie: 1½ of 4."""
    assert improvement([1.0, 2.0], [2.0, 1.5]) == (0 + 0 + 0.5 + 1) / 4
    assert improvement([1.0, 1.0], [0.0]) == 1.0
    assert improvement_interval([1.0, 1.0, 2.0], [0.0, 0.5]) == (1.0, 1.0)
    low, high = improvement_interval([0.0, 1.0] * 3, [0.0, 1.0] * 3)
    assert low < 0.5 < high
