"""Advantages and episode returns against scalar loops and numbers worked out by hand."""

import random

import numpy as np
import torch

from metarims.returns import finished_episodes, generalized_advantages


def scalar_advantages(rewards, values, next_values, terminated, truncated, discount, gae_lambda):
    """One environment, by definition: a sum forward from every step to its episode's end."""
    advantages = []
    for t in range(len(rewards)):
        total, weight = 0.0, 1.0
        for step in range(t, len(rewards)):
            bootstrap = 0.0 if terminated[step] else discount * next_values[step]
            total += weight * (rewards[step] + bootstrap - values[step])
            weight *= discount * gae_lambda
            if terminated[step] or truncated[step]:
                break
        advantages.append(total)
    return advantages


def test_equals_a_scalar_reference_on_1000_rollouts():
    for seed in range(1000):
        draw = random.Random(seed)
        steps = draw.randint(1, 12)
        floats = np.array([[draw.gauss(0, 1) for _ in range(steps)] for _ in range(3)])
        flags = np.array([[draw.random() < 0.2 for _ in range(steps)] for _ in range(2)])
        discount, gae_lambda = draw.random(), draw.random()
        rewards, values, next_values = torch.from_numpy(floats).unsqueeze(2)
        terminated, truncated = torch.from_numpy(flags).unsqueeze(2)
        fast = generalized_advantages(
            rewards, values, next_values, terminated, truncated, discount, gae_lambda
        )
        columns = (*floats, *flags)
        slow = scalar_advantages(*columns, discount=discount, gae_lambda=gae_lambda)  # type: ignore[misc]
        torch.testing.assert_close(fast[:, 0], torch.tensor(slow, dtype=torch.float64))


def test_by_hand():
    """γ = ½, λ = ½: Â_1 = 1 + ½·8 − 2 = 3 at the truncation, Â_0 = 0 + ½·2 − 4 + ¼·3 = −2¼."""
    advantages = generalized_advantages(
        torch.tensor([[0.0], [1.0]]),
        torch.tensor([[4.0], [2.0]]),
        torch.tensor([[2.0], [8.0]]),
        torch.tensor([[False], [False]]),
        torch.tensor([[False], [True]]),
        0.5,
        0.5,
    )
    assert advantages.tolist() == [[-2.25], [3.0]]


def test_episodes_go_on_from_the_rollout_before():
    rewards = torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.0, 4.0]])
    ended = torch.tensor([[False, True], [True, False], [False, False]])
    so_far = torch.tensor([[10.0, 20.0], [3.0, 7.0]], dtype=torch.float64)
    returns, lengths, after = finished_episodes(rewards, ended, so_far)
    assert returns[ended].tolist() == [20.0, 11.5]
    assert lengths[ended].tolist() == [8.0, 5.0]
    assert after.tolist() == [[0.0, 6.0], [1.0, 2.0]]
