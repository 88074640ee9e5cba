"""Losses against numbers worked out by hand."""

import math

import pytest
import torch

from metarims import losses


def test_log_prob_and_entropy_of_three_to_one():
    logits = torch.tensor([[math.log(3.0), 0.0]]).log_softmax(-1)
    assert losses.log_prob_of(logits, torch.tensor([0])).item() == pytest.approx(math.log(0.75))
    expected = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert losses.entropy_of(logits).item() == pytest.approx(expected)
    barrier = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert losses.log_barrier_of(logits).item() == pytest.approx(barrier)


def test_a_rare_action_is_lifted_by_the_barrier_and_forgotten_by_the_entropy():
    """By hand: the gradient in the logits is π − 1/A."""
    logits = torch.tensor([[0.0, 0.0, -20.0]], requires_grad=True)
    losses.log_barrier_of(logits.log_softmax(-1)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [pytest.approx([1 / 6, 1 / 6, -1 / 3], abs=1e-6)]
    logits.grad = None
    losses.entropy_of(logits.log_softmax(-1)).sum().backward()
    assert abs(logits.grad[0, 2].item()) < 1e-6  # type: ignore[index]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [(1.5, 2.0, -2.4), (0.5, 2.0, -1.0), (1.5, -2.0, 3.0), (0.5, -2.0, 1.6), (1.1, 1.0, -1.1)],
)
def test_clips_only_what_would_gain(ratio, advantage, loss):
    given = losses.clipped_policy_loss(torch.tensor([ratio]), torch.tensor([advantage]), 0.2)
    assert given.item() == pytest.approx(loss)


@pytest.mark.parametrize(("entropy", "barrier"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_the_policys_loss_and_slope_are_those_of_its_definition(entropy, barrier):
    torch.manual_seed(0)
    logits = torch.randn(5, 40, 7, dtype=torch.float64, requires_grad=True)
    actions = torch.randint(0, 7, (5, 40))
    advantages = torch.randn(5, 40, dtype=torch.float64)
    old = losses.log_prob_of(logits.detach().log_softmax(-1), actions)
    old = old + 0.3 * torch.randn(5, 40)  # some ratios are clipped, on either side
    found = losses.policy_loss_of(logits, actions, old, advantages, 0.2, entropy, barrier)
    (slope,) = torch.autograd.grad(2 * found.total, logits)

    now = logits.log_softmax(-1)
    ratio = (losses.log_prob_of(now, actions) - old).exp()
    surrogate = losses.clipped_policy_loss(ratio, advantages, 0.2)
    spread, kl = losses.entropy_of(now).mean(), losses.log_barrier_of(now).mean()
    total = surrogate - entropy * spread + barrier * kl
    (expected,) = torch.autograd.grad(2 * total, logits)
    assert ((ratio < 0.8) | (ratio > 1.2)).double().mean() > 0.2
    torch.testing.assert_close(slope, expected)
    torch.testing.assert_close(list(found), [total, surrogate, spread, kl, ratio])


def test_numbers_that_are_none_reach_the_slope():
    logits = torch.zeros(2, 3, requires_grad=True)
    done = torch.zeros(2, dtype=torch.int64), torch.zeros(2), torch.tensor([1.0, math.nan])
    losses.policy_loss_of(logits, *done, 0.2, 0.0, 0.0).total.backward()
    assert logits.grad is not None
    assert not logits.grad[1].isfinite().any()


def test_log_softmax_of_logits_far_apart():
    logits = torch.tensor([[1000.0, 0.0, -1000.0], [3.0, 3.0, 3.0]])
    found, probabilities = losses.log_softmax(logits)
    torch.testing.assert_close(found, logits.log_softmax(-1))
    torch.testing.assert_close(probabilities, logits.softmax(-1))


def test_value_loss_kl_and_explained_variance():
    values, returns = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])
    assert losses.squared_value_loss(values, returns).item() == 1.0
    assert losses.approximate_kl(torch.tensor([1.0, 2.0])).item() == pytest.approx(
        (1 - math.log(2.0)) / 2
    )
    assert losses.explained_variance(returns, returns).item() == 1.0
    assert losses.explained_variance(torch.zeros(2), returns).item() == 0.0
