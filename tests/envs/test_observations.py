"""Every kind of observation and picture against upstream's wrappers, across episodes."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from minigrid.wrappers import FullyObsWrapper, RGBImgPartialObsWrapper, ViewSizeWrapper

import envs
from envs.cells import CELLS, ENCODING
from envs.rgb import draw_sprites, index_sprites

LEVELS = ["MiniGrid-DoorKey-5x5-v0", "MiniGrid-Dynamic-Obstacles-5x5-v0", "BabyAI-GoToObjS4-v0"]
SEED, COUNT = 30, 3


def rgb(env, tile_size=8):
    return RGBImgPartialObsWrapper(env, tile_size)


def compare(id, wrap, steps=120, **options):
    """Walk ours and upstream's wrapped environments side by side; returns upstream's last."""
    ours = envs.make(id, num_envs=COUNT, **options)
    theirs = [wrap(gymnasium.make(id, disable_env_checker=True)) for _ in range(COUNT)]
    first = ours.reset(seed=SEED)["image"]
    for i, env in enumerate(theirs):
        np.testing.assert_array_equal(first[i], env.reset(seed=SEED + i)[0]["image"])
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(steps):
        actions = rng.choice(7, COUNT, p=np.array([2, 2, 6, 2, 1, 3, 1]) / 17)
        step = ours.step(torch.from_numpy(actions))
        for i, env in enumerate(theirs):
            image, _, terminated, truncated, _ = env.step(actions[i])
            np.testing.assert_array_equal(step.final_obs["image"][i], image["image"])
            if terminated or truncated:
                ends += 1
                np.testing.assert_array_equal(step.obs["image"][i], env.reset()[0]["image"])
    return ours, theirs, ends


@pytest.mark.parametrize("id", LEVELS)
def test_rgb_equals_upstream(id):
    _, _, ends = compare(id, rgb, observation="rgb")
    assert ends > 0 or id == LEVELS[0]


@pytest.mark.parametrize(("view", "tile_size"), [(7, 3), (5, 4), (3, 10)])
def test_rgb_of_other_sizes_equals_upstream(view, tile_size):
    def wrap(env):
        env.unwrapped.agent_view_size = view
        return rgb(env, tile_size)

    compare(LEVELS[0], wrap, 40, observation="rgb", view=view, tile_size=tile_size)


@pytest.mark.parametrize("id", LEVELS)
def test_the_full_grid_equals_upstream(id):
    compare(id, FullyObsWrapper, observation="full")


def test_the_full_grid_of_a_mixture_is_padded():
    env = envs.make(["MiniGrid-Empty-5x5-v0", "MiniGrid-FourRooms-v0"], 4, observation="full")
    image = env.reset(seed=0)["image"]
    assert image.shape == (4, 19, 19, 3)
    small = envs.make("MiniGrid-Empty-5x5-v0", 2, observation="full").reset(seed=0)["image"]
    assert torch.equal(image[:2, :5, :5], small)
    assert not image[:2, 5:].any()
    assert not image[:2, :, 5:].any()
    assert image[2:, :, :, 0].all()


@pytest.mark.parametrize("view", [3, 5, 9])
def test_other_views_equal_upstream(view):
    compare(LEVELS[2], lambda env: ViewSizeWrapper(env, view), view=view)


@pytest.mark.parametrize("id", LEVELS)
def test_render_equals_upstream(id):
    def plain(env):
        return env

    for steps in (1, 17):
        ours, theirs, _ = compare(id, plain, steps)
        for i, env in enumerate(theirs):
            np.testing.assert_array_equal(ours.render(i), env.unwrapped.get_frame())
    with pytest.raises(IndexError, match="0 to 2, got 3"):
        ours.render(3)


def test_every_cell_has_its_sprite():
    table = index_sprites()
    assert [table[tuple(row)] for row in ENCODING] == list(range(CELLS))
    assert draw_sprites(8).shape == (2 * CELLS, 8, 3)
    assert draw_sprites(3).shape == (2 * CELLS, 3, 9)


def test_pixels_that_somebody_holds_are_not_painted_over():
    env = envs.make(LEVELS[0], num_envs=256, observation="rgb")
    held = [env.reset(seed=0)["image"]]
    copies = [held[0].clone()]
    for action in torch.randint(0, 3, (12, 256), generator=torch.Generator().manual_seed(0)):
        held.append(env.step(action).obs["image"][3:])
        copies.append(held[-1].clone())
    assert all(torch.equal(a, b) for a, b in zip(held, copies, strict=True))


def test_memory_of_forgotten_pixels_serves_again():
    env = envs.make(LEVELS[0], num_envs=256, observation="rgb")
    env.reset(seed=0)
    places = {env.step(torch.full((256,), 6)).obs["image"].data_ptr() for _ in range(10)}
    assert len(places) <= 2
