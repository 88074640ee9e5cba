"""Gymnasium's doors; the checker of vector environments on ours, upstream's and broken ones."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import envs
from envs.check import VectorEnvError, check_vector_env

LOCAL = "BabyAI-GoToLocal-v0"
SHORT = "MiniGrid-Empty-5x5-v0"  # truncates after 100 steps


def ours(id=SHORT, num_envs=3, **options):
    return gymnasium.make_vec(f"metarims/{id}", num_envs=num_envs, **options)


def test_every_level_is_registered():
    assert all(f"metarims/{id}" in gymnasium.registry for id in envs.levels())


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, "Disabled"])
@pytest.mark.parametrize(
    ("id", "options"),
    [(SHORT, {}), (LOCAL, {"observation": "full"}), (SHORT, {"observation": "rgb", "view": 3})],
)
def test_the_checker_passes_on_ours(id, options, mode):
    env = ours(id, autoreset_mode=mode, **options)
    assert env.metadata["autoreset_mode"] == AutoresetMode(mode)
    check_vector_env(env, seed=5, steps=130)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_checker_passes_on_upstreams(mode):
    def make():
        return gymnasium.make(SHORT, disable_env_checker=True)

    check_vector_env(SyncVectorEnv([make] * 2, autoreset_mode=mode), steps=110)


def test_the_engine_behind_gymnasium_is_the_engine():
    env, engine = ours(LOCAL, 4), envs.make(LOCAL, 4)
    obs, infos = env.reset(seed=9)
    expected = engine.reset(seed=9)
    assert not infos
    for actions in np.random.default_rng(0).integers(0, 7, (80, 4)):
        for name in expected:
            np.testing.assert_array_equal(obs[name], expected[name])
        obs, reward, terminated, truncated, infos = env.step(actions)
        step = engine.step(torch.from_numpy(actions))
        expected = step.obs
        np.testing.assert_array_equal(reward, step.reward)
        np.testing.assert_array_equal(terminated, step.terminated)
        np.testing.assert_array_equal(truncated, step.truncated)
        for i in np.flatnonzero(terminated | truncated):
            for name, value in infos["final_obs"][i].items():
                np.testing.assert_array_equal(value, step.final_obs[name][i])


def test_episode_statistics_count():
    env = RecordEpisodeStatistics(ours())
    env.reset(seed=0)
    for _ in range(100):
        *_, infos = env.step(np.full(3, 6))
    np.testing.assert_array_equal(infos["episode"]["l"], [100] * 3)
    np.testing.assert_array_equal(infos["_episode"], [True] * 3)


def test_unseeded_environments_differ():
    images = [ours(LOCAL).reset()[0]["image"] for _ in range(2)]
    assert not np.array_equal(*images)


def test_rendering():
    assert ours().render() is None
    env = ours(render_mode="rgb_array")
    env.reset(seed=0)
    assert [frame.shape for frame in env.render()] == [(160, 160, 3)] * 3
    with pytest.raises(ValueError, match="'human'"):
        ours(render_mode="human")


def test_next_step_autoreset_is_refused():
    with pytest.raises(ValueError, match="got NEXT_STEP"):
        ours(autoreset_mode=AutoresetMode.NEXT_STEP)


@pytest.mark.parametrize(
    ("mask", "error"),
    [([True, False, True], TypeError), (np.ones(3), TypeError), (np.zeros(3, bool), ValueError)],
)
def test_bad_masks_are_refused(mask, error):
    env = ours(autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    with pytest.raises(error, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_a_single_environment():
    env = gymnasium.make(f"metarims/{LOCAL}", render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)
    obs, _ = env.reset(seed=3)
    np.testing.assert_array_equal(obs["image"], envs.make(LOCAL, 1).reset(seed=3)["image"][0])
    assert np.asarray(env.render()).shape == (256, 256, 3)


def lose_final(transition):
    transition[4].pop("final_obs", None)
    return transition


def shift_mask(transition):
    if "_final_obs" in transition[4]:
        transition[4]["_final_obs"] = ~transition[4]["_final_obs"]
    return transition


def count_rewards(transition):
    return (transition[0], transition[1].astype(int), *transition[2:])


def roll_dice(transition):
    return (transition[0], transition[1] + np.random.default_rng().random(3), *transition[2:])


def forget_a_row(transition):
    obs = {**transition[0], "image": transition[0]["image"][1:]}
    return (obs, *transition[1:])


def never_end(transition):
    still = np.zeros(3, bool)
    return (*transition[:2], still, still, {})


@pytest.mark.parametrize(
    ("fault", "promise"),
    [
        (lose_final, "final_obs"),
        (shift_mask, "_final_obs"),
        (count_rewards, "rewards are floats"),
        (roll_dice, "equal seeds"),
        (forget_a_row, "observation space"),
        (never_end, "an episode ends"),
    ],
)
def test_the_checker_finds_faults(fault, promise, monkeypatch):
    env = ours()
    step = env.step
    monkeypatch.setattr(env, "step", lambda actions: fault(step(actions)))
    with pytest.raises(VectorEnvError, match=promise):
        check_vector_env(env, steps=130)


def test_the_checker_finds_overwritten_observations(monkeypatch):
    env = ours()
    step = env.step
    memory: dict[str, np.ndarray] = {}

    def reuse(actions):
        obs, *rest = step(actions)
        memory.setdefault("image", np.empty_like(obs["image"]))[:] = obs["image"]
        return {**obs, "image": memory["image"]}, *rest

    monkeypatch.setattr(env, "step", reuse)
    with pytest.raises(VectorEnvError, match="earlier observations"):
        check_vector_env(env, steps=130)
