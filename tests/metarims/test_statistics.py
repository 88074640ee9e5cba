"""Intervals and entropies against published or hand-made numbers."""

import math

import pytest
import torch
from scipy.stats import binomtest

from metarims.statistics import bootstrap_interval, entropy, module_figures, wilson_interval


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
