"""The Stable-Baselines3 interface: its algorithms train with it."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

import envs

stable_baselines3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.vec_env import VecMonitor  # noqa: E402

from envs.sb3 import SB3VecEnv  # noqa: E402

LOCAL = "BabyAI-GoToLocal-v0"
SHORT = "MiniGrid-Empty-5x5-v0"  # truncates after 100 steps


@pytest.mark.parametrize("options", [{}, {"observation": "rgb"}])
def test_ppo_trains(options):
    env = VecMonitor(SB3VecEnv(LOCAL, num_envs=8, seed=1, **options))
    ppo = stable_baselines3.PPO(
        "MultiInputPolicy", env, n_steps=16, batch_size=64, n_epochs=2, seed=3, device="cpu"
    )
    before = [p.detach().clone() for p in ppo.policy.parameters()]
    ppo.learn(256)
    assert ppo.num_timesteps == 256
    assert any(not torch.equal(a, b) for a, b in zip(before, ppo.policy.parameters(), strict=True))


def test_steps_are_the_engines():
    env, engine = SB3VecEnv(SHORT, num_envs=3), envs.make(SHORT, 3)
    env.seed(6)
    obs, expected = env.reset(), engine.reset(seed=6)
    for actions in np.random.default_rng(0).integers(0, 7, (100, 3)):
        for name in expected:
            np.testing.assert_array_equal(obs[name], expected[name])
        obs, reward, ended, infos = env.step(actions)
        step = engine.step(torch.from_numpy(actions))
        expected = step.obs
        np.testing.assert_array_equal(reward, step.reward)
        np.testing.assert_array_equal(ended, step.terminated | step.truncated)
        for i, info in enumerate(infos):
            cut = bool(step.truncated[i] & ~step.terminated[i])
            assert info["TimeLimit.truncated"] == cut
            assert ("terminal_observation" in info) == ended[i]
            if ended[i]:
                last = info["terminal_observation"]
                np.testing.assert_array_equal(last["image"], step.final_obs["image"][i])
    assert ended.any()


def test_seeds_serve_once():
    env = SB3VecEnv(LOCAL, num_envs=2)
    env.seed(5)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first["image"], second["image"])
    env.seed(5)
    env.set_options({"anything": 1})
    np.testing.assert_array_equal(env.reset()["image"], first["image"])
    assert env._options == [{}, {}]
    assert env._seeds == [None, None]


def test_attributes_and_pictures():
    env = SB3VecEnv(envs.make(SHORT, 4), render_mode="rgb_array")
    env.reset()
    assert env.get_attr("render_mode", [0, 2]) == ["rgb_array"] * 2
    assert env.get_attr("level_ids") == [[SHORT]] * 4
    assert env.get_attr("spec") == [None] * 4
    assert not env.has_attr("nonsense")
    assert env.env_is_wrapped(gymnasium.Wrapper, 1) == [False]
    assert env.render().shape == (320, 320, 3)
    assert env.env_method("render", indices=3)[0].shape == (160, 160, 3)
    with pytest.raises(AttributeError, match="no method 'jump'"):
        env.env_method("jump")
    with pytest.raises(AttributeError, match="cannot set 'speed'"):
        env.set_attr("speed", 2)


def test_missions_in_words_and_a_limit():
    env = SB3VecEnv(LOCAL, num_envs=3, mission="text", max_steps=2)
    first = env.reset()["mission"]
    assert all(mission.startswith("go to") for mission in first)
    env.step(np.full(3, 6))
    obs, _, ended, infos = env.step(np.full(3, 6))
    assert ended.all()
    assert [info["terminal_observation"]["mission"] for info in infos] == list(first)
    assert obs["mission"].tolist() == env.engine.missions()


def test_autoreset_is_needed():
    with pytest.raises(ValueError, match="autoreset"):
        SB3VecEnv(SHORT, autoreset=False)
