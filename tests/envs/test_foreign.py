"""Upstream-style environments: layouts by their own code, dynamics by the engine."""

import contextlib
import io
import time
from functools import partial
from multiprocessing import get_context

import gymnasium
import minigrid  # noqa: F401
import numpy as np
import pytest
import torch
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Ball, Door, Goal, Key
from minigrid.envs import DynamicObstaclesEnv, FetchEnv, MemoryEnv
from minigrid.envs.wfc.config import WFC_PRESETS
from minigrid.minigrid_env import MiniGridEnv
from PIL import Image

import envs
from envs import layouts
from envs.translation.objects import ForeignRulesError
from envs.upstream import load
from metarims.registry import import_file


class Vault(MiniGridEnv):
    """A researcher's own level: a locked door of random color, and a mission that names it."""

    COLORS = ("red", "blue")

    def __init__(self, size=8, **kwargs):
        space = MissionSpace(lambda color: f"open the {color} vault", [list(self.COLORS)])
        super().__init__(mission_space=space, grid_size=size, max_steps=40, **kwargs)

    def _gen_grid(self, width, height):
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        self.grid.vert_wall(4, 0)
        color = self._rand_elem(self.COLORS)
        self.grid.set(4, self._rand_int(1, height - 1), Door(color, is_locked=True))
        self.put_obj(Goal(), width - 2, height - 2)
        self.place_obj(Key(color), (0, 0), (4, height))
        self.place_obj(Ball("grey"))
        self.place_agent((0, 0), (4, height))
        self.mission = f"open the {color} vault"


class Slow(Vault):
    """Takes its time to draw."""

    def _gen_grid(self, width, height):
        time.sleep(0.05)
        super()._gen_grid(width, height)


class Slippery(Vault):
    """Has rules of its own."""

    def step(self, action):
        return super().step(self.actions.forward)


class Wooden(Vault):
    """Has objects of its own."""

    class Barrel(Ball):
        pass

    def _gen_grid(self, width, height):
        super()._gen_grid(width, height)
        self.place_obj(self.Barrel("red"))


class Growing(Vault):
    """Draws grids of another size."""

    def _gen_grid(self, width, height):
        super()._gen_grid(width + 1, height + 1)


class Blind(gymnasium.ObservationWrapper):
    """Changes what is seen."""

    def observation(self, observation):
        return observation


def compare(make_upstream, batch, seed, steps):
    """Compare both from the same seeds, through several episodes."""
    upstreams = [make_upstream() for _ in range(batch.num_envs)]
    rng = np.random.default_rng(0)
    with contextlib.redirect_stdout(io.StringIO()):
        firsts = [env.reset(seed=seed + i)[0] for i, env in enumerate(upstreams)]
        obs = batch.reset(seed=seed)
        assert batch.missions() == [first["mission"] for first in firsts]
        for i, first in enumerate(firsts):
            assert np.array_equal(obs["image"][i].numpy(), first["image"])
        for _ in range(steps):
            actions = rng.integers(0, 7, batch.num_envs)
            step = batch.step(torch.from_numpy(actions))
            final, missions = step.final_obs, batch.missions()
            for i, env in enumerate(upstreams):
                obs, reward, terminated, truncated, _ = env.step(int(actions[i]))
                assert np.array_equal(final["image"][i].numpy(), obs["image"])
                assert step.reward[i].item() == np.float32(reward)
                ends = (step.terminated[i].item(), step.truncated[i].item())
                assert ends == (terminated, truncated)
                if terminated or truncated:
                    obs, _ = env.reset()
                    assert np.array_equal(step.obs["image"][i].numpy(), obs["image"])
                    assert missions[i] == obs["mission"]


@pytest.fixture
def patterns(monkeypatch, tmp_path):
    """A small pattern image for all WFC levels, whose own are missing from upstream's release."""
    pattern = np.zeros((4, 4, 3), np.uint8)
    pattern[1:, 1:] = 255
    pattern[2, 2] = 0
    path = tmp_path / "pattern.png"
    Image.fromarray(pattern).save(path)
    for config in WFC_PRESETS.values():
        if not config.pattern_path.exists():
            monkeypatch.setattr(config, "pattern_path", path)


@pytest.mark.usefixtures("patterns")
def test_wave_function_collapse_equals_upstream():
    id = "MiniGrid-WFC-MazeSimple-v0"
    batch = envs.make(id, num_envs=2, workers=0)
    compare(lambda: gymnasium.make(id, disable_env_checker=True), batch, seed=3, steps=60)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_level_in_upstreams_style_runs_on_the_engine(workers):
    with contextlib.closing(envs.make(Vault, num_envs=3, workers=workers)) as batch:
        compare(Vault, batch, seed=7, steps=100)


OWN = """
import gymnasium, threading
from tests.envs.test_foreign import Vault

class Own(Vault):
    pass

class Guarded(Vault):
    def _gen_grid(self, width, height):
        with LOCK:
            super()._gen_grid(width, height)

LOCK = threading.Lock()
gymnasium.register("Own-v0", Own)
gymnasium.register("OwnByPath-v0", f"{__name__}:Own")
gymnasium.register("Guarded-v0", Guarded)
gymnasium.register("Nowhere-v0", "nowhere:Own")
"""


@pytest.fixture
def imported(monkeypatch, tmp_path):
    """A file that `--import` names, with environments that Gymnasium then knows."""
    path = tmp_path / "own_environments.py"
    path.write_text(OWN)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", {**gymnasium.registry})
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    import_file(path)


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("id", ["Own-v0", "OwnByPath-v0"])
def test_a_file_may_register_a_level_that_only_this_process_knows(id):
    with contextlib.closing(envs.make(id, num_envs=2, workers=1)) as batch:
        compare(Vault, batch, seed=7, steps=50)


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(
    ("id", "complaint"),
    [
        ("Guarded-v0", "Guarded-v0 does not work: TypeError: cannot pickle '_thread.lock' object"),
        ("Nowhere-v0", "Nowhere-v0 does not work: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_registered_level_that_does_not_work_is_named(id, complaint):
    with pytest.raises(ValueError, match=complaint):
        envs.make(id, num_envs=1, workers=1)


def test_it_mixes_with_levels_of_the_engine():
    batch = envs.make(["BabyAI-GoToObj-v0", Vault], num_envs=5, workers=0)
    assert batch.level_ids == ["BabyAI-GoToObj-v0", "Vault"]
    assert batch.task.tolist() == [0, 0, 0, 1, 1]
    batch.reset(seed=0)
    alone = envs.make(Vault, num_envs=2, workers=0)
    alone.reset(seed=3)
    for action in np.random.default_rng(1).integers(0, 7, 90):
        together = batch.step(torch.full((5,), int(action)))
        apart = alone.step(torch.full((2,), int(action)))
        assert torch.equal(together.obs["image"][3:], apart.obs["image"])
        assert batch.missions()[3:] == alone.missions()


def layouts_of(batch):
    """What draws the layouts of the batch's only level."""
    return batch._renew[0]


def test_a_closed_batch_begins_anew(monkeypatch):
    """Closing cancels what the workers have not begun; no cancelled layout keeps its place."""
    monkeypatch.setattr(layouts, "TASKS_A_WORKER", 8)
    alone = envs.make(Slow, num_envs=12, workers=0)
    expected = alone.reset(seed=1)["image"]
    with contextlib.closing(envs.make(Slow, num_envs=12, workers=1)) as batch:
        batch.reset(seed=0)
        batch.close()
        assert layouts_of(batch)._running == 0
        assert torch.equal(batch.reset(seed=1)["image"], expected)


def test_layouts_that_nobody_needs_any_more_are_not_drawn():
    """Those of the streams that a reset with new seeds leaves behind."""
    with contextlib.closing(envs.make(Slow, num_envs=12, workers=1)) as batch:
        for seed in range(4):
            batch.reset(seed=seed)
        assert len(layouts_of(batch)._waiting) <= 12


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_starts_workers_of_its_own():
    with contextlib.closing(envs.make(Vault, num_envs=8, workers=1)) as batch:
        batch.reset(seed=0)
        context = get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=tell_a_reset, args=(batch, theirs))
        child.start()
        told = ours.recv() if ours.poll(60) else None
        child.kill()
        child.join()
        assert told == batch.reset(seed=1)["image"].tolist()


def tell_a_reset(batch, listener):
    """Reset a batch, close it, and send what was observed."""
    with contextlib.closing(batch):
        image = batch.reset(seed=1)["image"].tolist()
    listener.send(image)


def test_its_state_can_be_saved_and_restored():
    batch = envs.make(Vault, num_envs=2, workers=0)
    batch.reset(seed=0)
    saved = batch.state
    actions = torch.from_numpy(np.random.default_rng(2).integers(0, 7, (90, 2)))
    first = [batch.step(action).obs["image"] for action in actions]
    batch.state = saved
    again = [batch.step(action).obs["image"] for action in actions]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    "factory",
    [
        partial(MemoryEnv, size=9),
        partial(FetchEnv, size=6, numObjs=2),
        partial(DynamicObstaclesEnv, size=7),
    ],
)
def test_states_by_other_rules_than_the_standard_are_taken(factory):
    batch = envs.make(factory, num_envs=2, workers=0)
    batch.reset(seed=0)
    other = envs.make(factory, num_envs=2, workers=0)
    other.state = batch.state
    assert torch.equal(other.state, batch.state)
    alone = factory()
    alone.reset(seed=0)
    loaded = load([alone])
    assert loaded.missions() == [alone.mission]


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        (Slippery, "Slippery cannot run on the engine: Slippery has a step.. of its own"),
        (Wooden, "Wooden cannot run on the engine: objects of type Barrel are not upstream's"),
        (Growing, r"Growing is made for \(8, 8\) cells, drew \(9, 9\)"),
        (lambda: Blind(Vault()), "Blind changes what the environment does"),
        (lambda: gymnasium.make("CartPole-v1").unwrapped, "CartPoleEnv is not a MiniGridEnv"),
        (lambda: Vault(size=-1), "does not work"),
    ],
)
def test_rules_of_its_own_are_refused(factory, complaint):
    with pytest.raises(ValueError, match=complaint):
        envs.make(factory, num_envs=1, workers=0)
    assert issubclass(ForeignRulesError, ValueError)
