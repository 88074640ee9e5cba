"""Batches: independence of size, state, mixtures, ends of episodes, errors."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import envs
from envs.cells import BALL, BALL_TYPE, GOAL
from envs.devices import find_device
from envs.instructions import ANY, pick_up, say, say_nothing
from envs.jit import compiled
from envs.record import RECORD
from envs.registry import LEVELS
from envs.world import goal_in_corner, place_agent, put, set_agent, set_cell, walled

DYNAMIC = "MiniGrid-Dynamic-Obstacles-8x8-v0"
LOCAL = "BabyAI-GoToLocal-v0"
DOOR_KEY = "MiniGrid-DoorKey-5x5-v0"


def actions_for(count, steps, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 7, (steps, count)))


def rows(step):
    """All outputs of a step, one flat row per environment."""
    parts = [*step.obs.values(), *step.final_obs.values(), step.reward, step.terminated]
    return torch.cat(
        [p.reshape(len(step.reward), -1).double() for p in [*parts, step.truncated]], 1
    )


@pytest.mark.parametrize("level", [DYNAMIC, LOCAL, DOOR_KEY])
def test_one_and_4096_give_the_same_trajectory(level):
    actions = actions_for(4096, 150)
    large = envs.make(level, num_envs=4096)
    large.reset(seed=10)
    expected = [rows(large.step(a))[[0, 3, 4095]] for a in actions]
    for place, i in enumerate((0, 3, 4095)):
        single = envs.make(level, num_envs=1)
        single.reset(seed=10 + i)
        for a, row in zip(actions, expected, strict=True):
            assert torch.equal(rows(single.step(a[i : i + 1]))[0], row[place])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("level", [DYNAMIC, [DOOR_KEY, LOCAL]])
def test_a_copy_goes_on_alike_and_by_itself(level, duplicate):
    env = envs.make(level, num_envs=6, seed=5, view=5)
    fresh = duplicate(env)
    assert torch.equal(fresh.reset()["image"], env.reset()["image"])
    actions = actions_for(6, 60)
    for a in actions[:30]:
        env.step(a)
    other = duplicate(env)
    assert other.missions() == env.missions()
    expected = [rows(env.step(a)) for a in actions[30:]]
    again = [rows(other.step(a)) for a in actions[30:]]
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))


@pytest.mark.parametrize("observation", ["symbolic", "rgb"])
def test_a_batch_made_in_inference_mode_goes_on_outside_of_it(observation):
    make = partial(envs.make, [DOOR_KEY, LOCAL], 4, seed=3, observation=observation, max_steps=5)
    with torch.inference_mode():
        env = make()
        made = pickle.loads(pickle.dumps(env))
    env.reset()
    with torch.inference_mode():
        env.reset(seed=4)
        env.state = env.state
        env.step(torch.zeros(4, dtype=torch.int64))
    other = make()
    assert torch.equal(made.reset()["image"], other.reset()["image"])
    other.reset(seed=4)
    other.step(torch.zeros(4, dtype=torch.int64))
    for actions in actions_for(4, 12):
        assert torch.equal(rows(env.step(actions)), rows(other.step(actions)))


def test_no_step_comes_before_the_first_reset():
    with pytest.raises(ValueError, match=r"call reset\(\) before the first step\(\)"):
        envs.make(LOCAL, num_envs=2).step(torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("level", [DYNAMIC, LOCAL, [DOOR_KEY, LOCAL]])
def test_restored_state_gives_the_same_bits(level):
    env = envs.make(level, num_envs=64, seed=5)
    env.reset()
    actions = actions_for(64, 120)
    for a in actions[:60]:
        env.step(a)
    saved = env.state
    first = [rows(env.step(a)) for a in actions]
    missions = env.missions()
    env.state = saved
    again = [rows(env.step(a)) for a in actions]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert env.missions() == missions
    other = envs.make(level, num_envs=64)
    other.state = saved
    assert torch.equal(rows(other.step(actions[0])), first[0])


def test_reset_without_a_seed_goes_on_with_the_stream():
    env = envs.make(LOCAL, num_envs=32)
    first = env.reset(seed=1)["image"]
    second = env.reset()["image"]
    assert not torch.equal(first, second)
    assert torch.equal(env.reset(seed=1)["image"], first)
    assert torch.equal(env.reset()["image"], second)


def test_a_mixture_holds_each_level_as_alone():
    env = envs.make([DOOR_KEY, LOCAL, DYNAMIC], num_envs=10)
    env.reset(seed=100)
    assert env.task.tolist() == [0] * 4 + [1] * 3 + [2] * 3
    actions = actions_for(10, 80)
    steps = [env.step(a) for a in actions]
    for task, (start, end) in enumerate([(0, 4), (4, 7), (7, 10)]):
        alone = envs.make(env.level_ids[task], num_envs=end - start)
        alone.reset(seed=100 + start)
        words = alone.mission_length
        for a, step in zip(actions, steps, strict=True):
            part = alone.step(a[start:end])
            assert torch.equal(part.obs["image"], step.obs["image"][start:end])
            assert torch.equal(part.final_obs["image"], step.final_obs["image"][start:end])
            assert torch.equal(part.obs["mission"], step.obs["mission"][start:end, :words])
            assert torch.equal(part.reward, step.reward[start:end])


def test_final_obs_is_the_finished_episodes_last():
    env = envs.make(DOOR_KEY, num_envs=2)
    env.reset(seed=0)
    still = torch.full((2,), 6)
    for _ in range(249):
        step = env.step(still)
        assert not step.truncated.any()
        last = step.obs["image"]
    step = env.step(still)
    assert step.truncated.all()
    assert torch.equal(step.final_obs["image"], last)
    assert not torch.equal(step.obs["image"], last)


def test_earlier_observations_are_not_overwritten():
    env = envs.make(LOCAL, num_envs=16)
    obs = env.reset(seed=0)
    kept = {name: tensor.clone() for name, tensor in obs.items()}
    for a in actions_for(16, 100):
        env.step(a)
    assert all(torch.equal(obs[name], kept[name]) for name in obs)


@pytest.mark.parametrize("level", [LOCAL, DOOR_KEY])
def test_observations_are_not_the_engines_memory(level):
    env = envs.make(level, num_envs=4)
    first = env.reset(seed=0)["mission"].clone()
    missions = env.missions()
    env.reset(seed=0)["mission"].zero_()
    env.step(torch.zeros(4, dtype=torch.int64)).obs["mission"].zero_()
    assert env.missions() == missions
    assert torch.equal(env.reset(seed=0)["mission"], first)
    saved = env.state
    env.state = saved
    env.step(torch.zeros(4, dtype=torch.int64)).obs["mission"].zero_()
    assert env.missions() == missions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": "MiniGrid-DoorKey-5x5"}, "MiniGrid-DoorKey-5x5-v0"),
        ({"levels": [DOOR_KEY, LOCAL], "num_envs": 1}, "at least one per level, 2, got 1"),
        ({"levels": DOOR_KEY, "num_envs": 0}, "got 0"),
        ({"levels": DOOR_KEY, "num_envs": 2.0}, "num_envs must be a whole number, got 2.0"),
        ({"levels": []}, "at least one level, got none"),
        ({"levels": DOOR_KEY, "seed": -1}, "seed"),
        ({"levels": DOOR_KEY, "view": 6}, "view must be odd"),
        ({"levels": DOOR_KEY, "observation": "pixels"}, "symbolic', 'rgb', 'full"),
        ({"levels": DOOR_KEY, "device": "tpu"}, "unknown device 'tpu'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        envs.make(**{"num_envs": 2, **arguments})


def test_a_gpu_other_than_the_current_one_is_refused(monkeypatch):
    """Kernels would run on the current one, with the other's memory."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert [str(find_device(name)) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    with pytest.raises(ValueError, match=r"'cuda:0' is not the .* call torch.cuda.set_device\(0\)"):
        find_device("cuda:0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_missing_gpu_is_named():
    with pytest.raises(ValueError, match="no GPU"):
        envs.make(DOOR_KEY, num_envs=2, device="cuda")


@pytest.mark.parametrize(
    "actions", [torch.zeros(3), torch.zeros(2), torch.tensor([0, 7]), torch.tensor([-1, 0])]
)
def test_bad_actions_are_refused(actions):
    env = envs.make(DOOR_KEY, num_envs=2)
    env.reset()
    with pytest.raises(ValueError, match="actions"):
        env.step(actions)


@pytest.mark.parametrize("actions", [[0, 1], np.zeros(2, dtype=np.int64)])
def test_actions_other_than_tensors_are_named(actions):
    env = envs.make(DOOR_KEY, num_envs=2)
    env.reset()
    with pytest.raises(ValueError, match=f"torch tensor, got {type(actions).__name__}"):
        env.step(actions)


def test_bad_state_is_refused():
    env = envs.make(DOOR_KEY, num_envs=2)
    with pytest.raises(ValueError, match="state of shape"):
        env.state = torch.zeros(3, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"the state of environment 0 is not one of {DOOR_KEY}"):
        env.state = torch.zeros_like(env.state)
    other = envs.make("MiniGrid-Empty-5x5-v0", num_envs=2)
    other.reset()
    outside = other.state
    outside[1, RECORD.fields["x"][1]] = 7  # type: ignore[index]
    with pytest.raises(ValueError, match="the state of environment 1"):
        other.state = outside
    by_other_rules = envs.make("MiniGrid-Dynamic-Obstacles-5x5-v0", num_envs=2)
    with pytest.raises(ValueError, match="the state of environment 0"):
        by_other_rules.state = other.state
    other_mission = envs.make("MiniGrid-LavaGapS5-v0", num_envs=2)
    with pytest.raises(ValueError, match="the state of environment 0"):
        other_mission.state = other.state


def ask(e):
    put(e, 3, 3, BALL)
    pick_up(e, BALL_TYPE, ANY)


def say_many(e):
    say_nothing(e)
    for word in range(80):
        say(e, word)


def say_without_beginning(e):
    say(e, 1)


@pytest.mark.parametrize(
    ("draw", "settings", "complaint"),
    [
        (ask, {"words": 3}, "a mission has 4 words, more than the 3 of the level"),
        (ask, {"mission": "pick up a ball"}, "it asks for something beside its one mission"),
        (say_many, {"words": 72}, "1000 layouts were rejected in a row"),
        (say_without_beginning, {"words": 6}, "1000 layouts .* begin a mission .* say_nothing"),
    ],
)
def test_missions_that_a_level_has_not_declared_are_refused(draw, settings, complaint):
    def say_more(e):
        walled(e)
        set_agent(e, 1, 1, 0)
        own(e)

    own = compiled(draw)
    try:
        envs.level("Test-Words-v0", size=5, max_steps=20, **settings)(say_more)
        env = envs.make("Test-Words-v0", num_envs=2)
        with pytest.raises(ValueError, match=f"Test-Words-v0: .*{complaint}"):
            env.reset()
    finally:
        LEVELS.pop("Test-Words-v0")


def test_a_level_that_leaves_the_grid_is_refused():
    def edge(e, agent, cell, thing):
        if agent:
            set_agent(e, agent, 1, 0)
        set_cell(e, cell, 2, GOAL)
        put(e, thing, 3, BALL)

    row = partial(envs.level, "Test-Edge-v0", size=5, max_steps=20, mission="x")
    inside: dict[str, Any] = {"agent": 1, "cell": 4, "thing": 4}
    wrong = [{"agent": 0}, {"agent": 5}, {"cell": -1}, {"cell": 5}, {"thing": -1}, {"thing": 5}]
    try:
        row(**inside)(edge)
        envs.make("Test-Edge-v0", num_envs=2).reset()
        for places in wrong:
            row(**(inside | places))(edge)
            with pytest.raises(ValueError, match="Test-Edge-v0: 1000 layouts were rejected"):
                envs.make("Test-Edge-v0", num_envs=2).reset()
    finally:
        LEVELS.pop("Test-Edge-v0")


def test_a_level_without_room_for_the_agent_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(envs.registry, "LEVELS", dict(LEVELS))

    @envs.level("Test-Full-v0", size=3, max_steps=9, mission="x")
    def full(e):
        walled(e)
        place_agent(e, 0, 0, 2, 1)

    with pytest.raises(ValueError, match=r"Test-Full-v0: 1000 layouts were .* an empty cell"):
        envs.make("Test-Full-v0", num_envs=64).reset()


def test_a_level_of_ones_own():

    @envs.level("Test-Corner-v0", size=5, max_steps=20, mission="get to the corner", start=1)
    def corner(e, start):
        walled(e)
        goal_in_corner(e)
        set_agent(e, start, start, 0)

    try:
        env = envs.make("Test-Corner-v0", num_envs=3)
        env.reset()
        assert env.missions() == ["get to the corner"] * 3
        for action in (2, 2, 1, 2):
            env.step(torch.full((3,), action))
        step = env.step(torch.full((3,), 2))
        assert step.terminated.all()
        torch.testing.assert_close(step.reward, torch.full((3,), 1 - 0.9 * 5 / 20))
        with pytest.raises(ValueError, match="corner takes"):
            envs.level("Test-Wrong-v0", size=5, max_steps=20, mission="x", stop=1)(corner)
    finally:
        LEVELS.pop("Test-Corner-v0")


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_are_the_whole_batch(parts):
    """Levels, seeds, layouts and all later episodes are those of the whole batch, in its order."""
    ids = ["MiniGrid-Empty-Random-5x5-v0", "BabyAI-GoToObj-v0", "MiniGrid-DoorKey-5x5-v0"]
    whole = envs.make(ids, num_envs=8)
    pieces = [envs.make(ids, num_envs=8, part=(k, parts)) for k in range(parts)]
    size = 8 // parts
    seen = [whole.reset(5)["image"]]
    cut = [torch.cat([piece.reset(5 + k * size)["image"] for k, piece in enumerate(pieces)])]
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        actions = torch.randint(7, (8,), generator=generator)
        seen.append(whole.step(actions).obs["image"])
        steps = [p.step(a) for p, a in zip(pieces, actions.split(size), strict=True)]
        cut.append(torch.cat([step.obs["image"] for step in steps]))
    assert torch.equal(torch.stack(seen), torch.stack(cut))
    assert torch.equal(torch.cat([piece.task for piece in pieces]), whole.task)
    with pytest.raises(ValueError, match="multiple of the 3 parts, got 8"):
        envs.make(ids, num_envs=8, part=(0, 3))
    for part in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match=r"part must be \(k, n\) with 0 <= k < n, got"):
            envs.make(ids, num_envs=8, part=part)


def test_situations_are_where_agents_stand_and_what_they_carry():
    env = envs.make("MiniGrid-Fetch-5x5-N2-v0", num_envs=20, seed=2, autoreset=False)
    env.reset()
    for _ in range(20):
        env.step(torch.randint(4, (20,)))
        records = [env.record(i) for i in range(20)]
        found = [[int(record[name]) for name in ("x", "y", "carrying")] for record in records]
        assert env.situations.tolist() == [x + 256 * y + 65536 * thing for x, y, thing in found]
    assert len({thing for *_, thing in found}) > 2
