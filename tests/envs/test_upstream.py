"""Upstream's environments to a batch and back, in mid-episode."""

import contextlib
import io

import gymnasium
import minigrid  # noqa: F401
import numpy as np
import pytest
import torch

import envs
from envs.registry import LEVELS
from envs.upstream import dump, load
from envs.vocabulary import decode

STEPS = 60


def one_level_a_function():
    return sorted({level.generate: id for id, level in LEVELS.items()}.values())


def walk(seed, count):
    """Random actions, mostly forward."""
    return np.random.default_rng(seed).choice(7, count, p=np.array([2, 2, 5, 2, 1, 3, 1]) / 16)


def make_upstream(id, seed, actions):
    """Upstream's environment after some actions, reset when an episode ends."""
    env = gymnasium.make(id, disable_env_checker=True)
    with contextlib.redirect_stdout(io.StringIO()):
        env.reset(seed=seed)
        for action in actions:
            _, _, terminated, truncated, _ = env.step(int(action))
            if terminated or truncated:
                env.reset()
    return env


def follow(batch, upstreams, actions):
    """Step both; every observation, outcome and later episode must be equal."""
    for action in actions:
        step = batch.step(torch.full((len(upstreams),), int(action)))
        final, missions = step.final_obs, batch.missions()
        for i, env in enumerate(upstreams):
            obs, reward, terminated, truncated, _ = env.step(int(action))
            assert np.array_equal(final["image"][i].numpy(), obs["image"])
            assert int(final["direction"][i]) == obs["direction"]
            assert step.reward[i].item() == np.float32(reward)
            assert (step.terminated[i].item(), step.truncated[i].item()) == (terminated, truncated)
            if terminated or truncated:
                with contextlib.redirect_stdout(io.StringIO()):
                    obs, _ = env.reset()
                assert np.array_equal(step.obs["image"][i].numpy(), obs["image"])
                assert missions[i] == obs["mission"]


@pytest.mark.parametrize("id", one_level_a_function())
def test_loaded_environments_go_on_alike(id):
    upstreams = [make_upstream(id, seed, walk(seed, 20 * seed)) for seed in range(3)]
    batch = load(upstreams)
    assert batch.missions() == [env.unwrapped.mission for env in upstreams]
    follow(batch, upstreams, walk(9, STEPS))


@pytest.mark.parametrize("id", one_level_a_function())
def test_dumped_environments_go_on_alike(id):
    batch = envs.make(id, num_envs=3, seed=5)
    batch.reset()
    for action in walk(4, 25):
        batch.step(torch.full((3,), int(action)))
    upstreams = [dump(batch, i) for i in range(3)]
    for i, env in enumerate(upstreams):
        assert env.mission == decode(batch.record(i)["mission"])
    follow(batch, upstreams, walk(8, STEPS))


def test_environments_of_several_levels_load_side_by_side():
    ids = ["MiniGrid-DoorKey-8x8-v0", "MiniGrid-DoorKey-8x8-v0", "BabyAI-GoToLocal-v0"]
    upstreams = [make_upstream(id, 3, walk(3, 10)) for id in ids]
    batch = load(upstreams)
    assert batch.level_ids == ["MiniGrid-DoorKey-8x8-v0", "BabyAI-GoToLocal-v0"]
    assert batch.task.tolist() == [0, 0, 1]
    follow(batch, upstreams, walk(1, STEPS))


def test_what_cannot_be_loaded_is_named():
    with pytest.raises(ValueError, match="agent_view_size, got none"):
        load([])
    small = gymnasium.make("MiniGrid-Empty-5x5-v0", agent_view_size=5)
    large = gymnasium.make("MiniGrid-Empty-5x5-v0")
    small.reset(seed=0)
    large.reset(seed=0)
    with pytest.raises(ValueError, match=r"one agent_view_size, got \[5, 7\]"):
        load([small, large])
    with pytest.raises(ValueError, match="was not reset"):
        load([gymnasium.make("MiniGrid-Empty-5x5-v0")])


def test_a_dumped_environment_keeps_its_view_and_limit():
    batch = envs.make("BabyAI-GoToObj-v0", 1, view=5, max_steps=9)
    image = batch.reset(seed=0)["image"][0]
    env = dump(batch, 0)
    assert np.array_equal(image, env.gen_obs()["image"])
    assert env.gen_obs() in env.observation_space
    env.reset(seed=0)
    assert (env.max_steps, env.agent_view_size) == (9, 5)


def test_a_level_of_ones_own_cannot_be_dumped(tmp_path):
    from envs.registry import level
    from envs.world import goal_in_corner, set_agent, walled

    @level("Test-Corner-v0", size=5, max_steps=10, mission="get to the green goal square")
    def corner(e):
        walled(e)
        goal_in_corner(e)
        set_agent(e, 1, 1, 0)

    try:
        batch = envs.make("Test-Corner-v0", num_envs=1)
        batch.reset()
        with pytest.raises(ValueError, match="'Test-Corner-v0' is not a level of upstream's"):
            dump(batch, 0)
    finally:
        del LEVELS["Test-Corner-v0"]
