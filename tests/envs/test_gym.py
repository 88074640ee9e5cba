"""The Gymnasium interface; the vector environment checker on ours, upstream's and broken ones."""

from __future__ import annotations

import pickle
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import (
    DictInfoToList,
    FilterObservation,
    FlattenObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    TransformObservation,
)
from minigrid.wrappers import FullyObsWrapper

import envs
from envs import registry
from envs.check import VectorEnvError, check_vector_env
from envs.gym import GymVectorEnv
from envs.world import set_agent

LOCAL = "BabyAI-GoToLocal-v0"
SHORT = "MiniGrid-Empty-5x5-v0"  # truncates after 100 steps
OBSTACLES = "MiniGrid-Dynamic-Obstacles-6x6-v0"  # draws while it steps


def ours(id=SHORT, num_envs=3, **options):
    return gymnasium.make_vec(f"metarims/{id}", num_envs=num_envs, **options)


def test_every_level_is_registered():
    assert all(f"metarims/{id}" in gymnasium.registry for id in envs.levels())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("width", [5, 6])
def test_a_level_of_ones_own_is_known_at_once_and_anew(width, monkeypatch):
    monkeypatch.setattr(registry, "LEVELS", dict(registry.LEVELS))

    @envs.level("Test-Nook-v0", size=(width, 5), max_steps=9, mission="get to the goal")
    def nook(e):
        set_agent(e, 1, 1, 0)

    one: Any = gymnasium.make("metarims/Test-Nook-v0").unwrapped
    for env in (one, ours("Test-Nook-v0").unwrapped):
        env.reset(seed=0)
        assert env.engine.levels[0].width == width


def test_an_id_that_gymnasium_refuses_is_refused():
    wrong = envs.level("Test nook", size=5, max_steps=9, mission="get to the goal")
    with pytest.raises(ValueError, match="'Test nook' cannot be a level's id, as 'My-Level-v0'"):
        wrong(lambda e: None)
    assert "Test nook" not in registry.LEVELS


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, "Disabled", "NextStep"])
@pytest.mark.parametrize(
    ("id", "options"),
    [(SHORT, {}), (LOCAL, {"mission": "text"}), (SHORT, {"observation": "rgb", "view": 3})],
)
def test_the_checker_passes_on_ours(id, options, mode):
    env = ours(id, autoreset_mode=mode, **options)
    assert env.metadata["autoreset_mode"] == AutoresetMode(mode)
    check_vector_env(env, seed=5, steps=130)


def upstreams(id, num_envs, mode, **options):
    """Gymnasium's own vector environment over upstream's environments."""
    make = partial(gymnasium.make, id, disable_env_checker=True, **options)
    return SyncVectorEnv([make] * num_envs, autoreset_mode=mode)


def assert_same(ours, theirs):
    """Check that both return the same: observations, and the other results of a step."""
    for name in theirs[0]:
        np.testing.assert_array_equal(ours[0][name], theirs[0][name])
    for mine, other in zip(ours[1:-1], theirs[1:-1], strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)
    assert sorted(ours[-1]) == sorted(theirs[-1])
    for i in np.flatnonzero(theirs[-1].get("_final_obs", False)):
        assert_same((ours[-1]["final_obs"][i], {}), (theirs[-1]["final_obs"][i], {}))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("id", [LOCAL, "MiniGrid-Empty-Random-5x5-v0", OBSTACLES])
def test_it_equals_gymnasiums_own_of_upstreams(id, mode):
    """Bit for bit, rewards and sentences included, with partial resets and short step limits."""
    options = {"max_steps": 17} if id == LOCAL else {}
    env = ours(id, 5, autoreset_mode=mode, mission="text", **options)
    other = upstreams(id, 5, mode, **options)
    assert env.single_observation_space == other.single_observation_space
    assert_same(env.reset(seed=3), other.reset(seed=3))
    rewards, ends = 0.0, 0
    for number, actions in enumerate(goal_seeking(150, 5)):
        if number == 100:
            mask = np.array([True, False, True, False, False])
            given = {"seed": [None, 1, 2, 3, 4], "options": {"reset_mask": mask}}
            first, second = env.reset(**deepcopy(given)), other.reset(**deepcopy(given))
            assert_same(first, second)
        transition = env.step(actions)
        assert_same(transition, other.step(actions))
        rewards += np.abs(transition[1]).sum()
        ends += int((transition[2] | transition[3]).sum())
    assert ends > 5
    assert rewards > 0


def goal_seeking(steps, num_envs):
    """Random actions, mostly forward."""
    weights = np.array([2, 2, 5, 2, 1, 3, 1]) / 16
    return np.random.default_rng(1).choice(7, (steps, num_envs), p=weights)


def test_a_copy_under_next_step_begins_what_is_to_begin():
    env = ours(max_steps=3, autoreset_mode="NextStep")
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.full(3, 6))
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(3):
        assert_same(env.step(np.full(3, 1)), twin.step(np.full(3, 1)))


@pytest.mark.parametrize(
    "wrap",
    [
        FlattenObservation,
        lambda env: FilterObservation(env, ["image"]),
        lambda env: TransformObservation(env, lambda obs: {**obs, "image": obs["image"] // 2}),
        RecordEpisodeStatistics,
        lambda env: NormalizeReward(env),
        lambda env: DictInfoToList(env),
    ],
    ids=["flatten", "filter", "transform", "statistics", "reward", "infos"],
)
def test_gymnasiums_vector_wrappers_take_next_step(wrap):
    env = wrap(ours(max_steps=10, autoreset_mode="NextStep"))
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    for actions in goal_seeking(25, 3):
        obs, *_ = env.step(actions)
        assert obs in env.observation_space


def test_modes_and_environments_must_fit():
    with pytest.raises(ValueError, match="NEXT_STEP needs environments made with autoreset=False"):
        GymVectorEnv(envs.make(SHORT, 2), autoreset_mode="NextStep")
    with pytest.raises(ValueError, match="SAME_STEP needs environments made with autoreset=True"):
        GymVectorEnv(envs.make(SHORT, 2, autoreset=False), autoreset_mode="SameStep")
    with pytest.raises(ValueError, match="'Never'"):
        ours(autoreset_mode="Never")
    assert GymVectorEnv(envs.make(SHORT, 2)).autoreset_mode == AutoresetMode.SAME_STEP


def test_missions_are_tokens_or_text():
    for make in (ours, lambda **options: gymnasium.make(f"metarims/{SHORT}", **options).unwrapped):
        with pytest.raises(ValueError, match="mission must be one of"):
            make(mission="speech")
    mixture = GymVectorEnv(envs.make([SHORT, LOCAL], 2), mission="text")
    obs, _ = mixture.reset(seed=0)
    assert obs["mission"][0] == "get to the green goal square"
    assert obs["mission"][1].startswith("go to")
    assert obs in mixture.observation_space


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
        np.testing.assert_array_equal(reward, step.exact_reward)
        np.testing.assert_array_equal(reward.astype(np.float32), step.reward)
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


@pytest.mark.parametrize("seed", [[None] * 3, [None, 5, None]])
def test_environments_without_a_seed_of_their_own_differ(seed):
    pair: list[Any] = [ours(LOCAL) for _ in range(2)]
    for env in pair:
        env.reset(seed=seed)
    first, second = (env.engine.state for env in pair)
    for i, given in enumerate(seed):
        assert torch.equal(first[i], second[i]) == (given is not None)
    assert not torch.equal(first[0], first[2])


@pytest.mark.parametrize("given", [None, 4])
def test_the_seed_that_it_is_made_with_is_that_of_its_first_reset(given):
    expected = envs.make(LOCAL, 1).reset(seed=7 if given is None else given)
    batch, one = ours(LOCAL, 3, seed=7), gymnasium.make(f"metarims/{LOCAL}", seed=7)
    copy = pickle.loads(pickle.dumps(batch))
    for env in (batch, copy):
        image = env.reset(seed=given)[0]["image"]
        np.testing.assert_array_equal(image[0], expected["image"][0])
    np.testing.assert_array_equal(one.reset(seed=given)[0]["image"], expected["image"][0])
    assert not np.array_equal(batch.reset()[0]["image"], image)


def test_rendering():
    assert ours().render() is None
    env = ours(render_mode="rgb_array")
    env.reset(seed=0)
    assert [frame.shape for frame in env.render()] == [(160, 160, 3)] * 3
    with pytest.raises(ValueError, match="'human'"):
        ours(render_mode="human")


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


@pytest.mark.parametrize("id", [LOCAL, "MiniGrid-DoorKey-5x5-v0"])
def test_a_single_environment_equals_upstreams(id):
    """Spaces, observations, rewards, ends and readable attributes, at every step."""
    env: Any = gymnasium.make(f"metarims/{id}", mission="text", max_steps=40)
    other: Any = gymnasium.make(id, max_steps=40)
    assert env.observation_space == other.observation_space
    assert env.action_space == other.action_space
    read = ("agent_pos", "agent_dir", "step_count", "max_steps", "steps_remaining", "mission")
    assert_same(env.reset(seed=8), other.reset(seed=8))
    for action in goal_seeking(120, 1)[:, 0]:
        mine, theirs = env.step(action), other.step(action)
        assert_same((mine[0], {}), (theirs[0], {}))
        assert mine[1:] == theirs[1:]
        for name in read:
            assert getattr(env.unwrapped, name) == getattr(other.unwrapped, name)
        assert np.array_equal(env.unwrapped.grid.encode(), other.unwrapped.grid.encode())
        assert type(env.unwrapped.carrying) is type(other.unwrapped.carrying)
        if mine[2] or mine[3]:
            assert_same(env.reset(), other.reset())


def test_what_is_upstreams_is_read_only():
    env: Any = gymnasium.make(f"metarims/{SHORT}").unwrapped
    assert (env.width, env.agent_pos) == (5, None)  # not reset yet
    env.reset(seed=0)
    assert pickle.loads(pickle.dumps(env)).agent_pos == env.agent_pos == (1, 1)
    with pytest.raises(AttributeError, match="'agent_pos' belongs to the engine"):
        env.agent_pos = (2, 2)
    with pytest.raises(AttributeError, match="no attribute 'wings'"):
        _ = env.wings


def test_a_level_that_upstream_lacks_can_be_looked_at():
    env = FullyObsWrapper(gymnasium.make("metarims/MetaRIMs-FourRoomsS13-v0", mission="text"))
    full = envs.make("MetaRIMs-FourRoomsS13-v0", 1, observation="full")
    obs, _ = env.reset(seed=4)
    assert obs["mission"] == "reach the goal"
    np.testing.assert_array_equal(obs["image"], full.reset(seed=4)["image"][0])


@pytest.mark.filterwarnings("ignore:The system font")
def test_a_window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env: Any = gymnasium.make(f"metarims/{SHORT}", render_mode="human").unwrapped
    env.reset(seed=0)
    env.step(2)
    assert env.window.get_size() == (640, 640)
    env.close()


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
