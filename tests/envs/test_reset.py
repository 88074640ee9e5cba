"""Resets: partial ones, with individual seeds, with and without autoreset."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import envs

LOCAL = "BabyAI-GoToLocal-v0"
SHORT = "MiniGrid-Empty-5x5-v0"  # truncates after 100 steps
OBSTACLES = "MiniGrid-Dynamic-Obstacles-6x6-v0"  # draws while it steps


def test_without_autoreset_environments_go_on_past_the_end():
    env = envs.make(SHORT, num_envs=2, autoreset=False)
    upstream = gymnasium.make(SHORT, disable_env_checker=True)
    env.reset(seed=0)
    upstream.reset(seed=0)
    for n in range(130):
        action = (2, 1, 6, 6)[n % 4]
        step = env.step(torch.full((2,), action))
        obs, reward, terminated, truncated, _ = upstream.step(action)
        np.testing.assert_array_equal(step.obs["image"][0], obs["image"])
        assert step.reward[0] == np.float32(reward)
        assert (bool(step.terminated[0]), bool(step.truncated[0])) == (terminated, truncated)
        assert torch.equal(step.final_obs["image"], step.obs["image"])
    assert truncated


@pytest.mark.parametrize("autoreset", [True, False])
@pytest.mark.parametrize("observation", ["symbolic", "rgb", "full"])
def test_a_mask_begins_only_the_chosen_anew(autoreset, observation):
    def make():
        return envs.make(LOCAL, num_envs=6, autoreset=autoreset, observation=observation)

    env, whole = make(), make()
    env.reset(seed=4)
    whole.reset(seed=4)
    mask = torch.tensor([True, False, False, True, False, True])
    last = env.step(torch.full((6,), 1)).obs
    missions = env.missions()
    obs = env.reset(mask=mask)
    whole.step(torch.full((6,), 1))
    fresh = whole.reset()
    for name in obs:
        assert torch.equal(obs[name][mask], fresh[name][mask])
        assert torch.equal(obs[name][~mask], last[name][~mask])
    assert [m for m, new in zip(env.missions(), mask, strict=True) if not new] == [
        m for m, new in zip(missions, mask, strict=True) if not new
    ]
    assert not torch.equal(obs["image"][mask], last["image"][mask])


@pytest.mark.parametrize("autoreset", [True, False])
def test_some_begin_anew_instead_of_acting(autoreset):
    """Equals a step of the others and a reset of these: streams, missions, rewards and ends."""
    env, apart = (envs.make(OBSTACLES, 6, autoreset=autoreset, max_steps=9) for _ in range(2))
    anew = torch.tensor([True, False, False, True, False, False])
    for each in (env, apart):
        each.reset(seed=4)
        for _ in range(8):
            each.step(torch.full((6,), 6))
    step = env.step(torch.full((6,), 6), anew=anew)
    before = apart.state
    whole = apart.step(torch.full((6,), 6))
    apart.state = torch.where(anew[:, None], before, apart.state)
    apart.reset(mask=anew)
    assert torch.equal(env.state, apart.state)
    assert torch.equal(step.truncated, ~anew)
    assert torch.equal(step.reward, whole.reward.masked_fill(anew, 0))
    assert torch.equal(step.obs["image"][~anew], whole.obs["image"][~anew])
    assert torch.equal(step.final_obs["image"][~anew], whole.final_obs["image"][~anew])


@pytest.mark.parametrize("id", [SHORT, LOCAL])
def test_max_steps_is_upstreams(id):
    env, upstream = envs.make(id, 1, max_steps=12), gymnasium.make(id, max_steps=12)
    env.reset(seed=1)
    upstream.reset(seed=1)
    for number in range(30):
        step = env.step(torch.tensor([(2, 2, 1)[number % 3]]))
        _, reward, *ends, _ = upstream.step((2, 2, 1)[number % 3])
        assert (step.exact_reward.item(), [step.terminated.item(), step.truncated.item()]) == (
            reward,
            ends,
        )
        if any(ends):
            upstream.reset()
    assert pickle.loads(pickle.dumps(env)).options.max_steps == 12


def test_max_steps_out_of_place_is_refused():
    with pytest.raises(ValueError, match="max_steps must be 1 to"):
        envs.make(SHORT, 1, max_steps=0)
    with pytest.raises(ValueError, match="max_steps applies to ids only"):
        envs.make(lambda: gymnasium.make(SHORT), 1, max_steps=5)


def test_a_masked_reset_seeds_only_the_chosen():
    env = envs.make(LOCAL, num_envs=4)
    env.reset(seed=0)
    before = env.state
    obs = env.reset(seed=50, mask=torch.tensor([False, True, False, False]))
    assert torch.equal(env.state[[0, 2, 3]], before[[0, 2, 3]])
    other = envs.make(LOCAL, num_envs=4).reset(seed=50)
    assert torch.equal(obs["image"][1], other["image"][1])


def test_a_seed_each():
    env = envs.make(LOCAL, num_envs=3)
    obs = env.reset(seed=[7, 3, 9])
    for i, seed in enumerate((7, 3, 9)):
        assert torch.equal(obs["image"][i], envs.make(LOCAL, 1).reset(seed=seed)["image"][0])
    again = env.reset(seed=[None, 3, None])
    assert torch.equal(again["image"][1], obs["image"][1])
    assert not torch.equal(again["image"][0], obs["image"][0])


def test_the_first_reset_seeds_all():
    """Where no seed is given, by the batch's own; also after one that was refused."""
    env = envs.make(LOCAL, num_envs=3, seed=20)
    with pytest.raises(ValueError, match="got -1"):
        env.reset(seed=-1)
    obs = env.reset(seed=[None, 4, None])
    for i, seed in enumerate((20, 4, 22)):
        assert torch.equal(obs["image"][i], envs.make(LOCAL, 1).reset(seed=seed)["image"][0])


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64])
def test_seeds_may_be_numpys(kind):
    env = envs.make(LOCAL, num_envs=3)
    expected = env.reset(seed=[126, 127, 128])["image"]
    given: list[Any] = [kind(126), [kind(126), 127, kind(128)], np.arange(126, 129).astype(kind)]
    for seed in given:
        assert torch.equal(env.reset(seed=seed)["image"], expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": [1, 2]}, "expected 3 seeds, one per environment, got 2"),
        ({"seed": -4}, r"between 0 and 2\*\*128 - 1, got -4"),
        ({"seed": [1, -2, None]}, r"between 0 and 2\*\*128 - 1, got -2"),
        ({"seed": [1, 2**128, None]}, rf"between 0 and 2\*\*128 - 1, got {2**128}"),
        ({"mask": torch.ones(2, dtype=torch.bool)}, r"bool mask of shape \(3,\)"),
        ({"mask": torch.ones(3)}, "float32"),
    ],
)
def test_bad_resets_are_refused(arguments, message):
    env = envs.make(LOCAL, num_envs=3)
    env.reset()
    with pytest.raises(ValueError, match=message):
        env.reset(**arguments)


def test_the_first_reset_takes_no_mask():
    with pytest.raises(ValueError, match="the first reset"):
        envs.make(LOCAL, num_envs=3).reset(mask=torch.ones(3, dtype=torch.bool))
