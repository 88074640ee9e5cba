"""What an agent sees itself about, read off its observations."""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import BALL_TYPE, BOX_TYPE, DOOR_TYPE, GOAL_TYPE, KEY_TYPE, LAVA_TYPE, WALL_TYPE
from .interface import UPSTREAM_VIEW, Options
from .rgb import read_types

FACED = {
    "a wall": WALL_TYPE,
    "a door": DOOR_TYPE,
    "a key": KEY_TYPE,
    "a ball": BALL_TYPE,
    "a box": BOX_TYPE,
    "the goal": GOAL_TYPE,
    "lava": LAVA_TYPE,
}
PIXELS = UPSTREAM_VIEW * Options.tile_size  # of a painted view's side
CARRIED = (KEY_TYPE, BALL_TYPE, BOX_TYPE)


def types_near(image: Tensor) -> tuple[Tensor, Tensor]:
    """The types of the cells ahead of the agent and under it, [...]."""
    shape, side = tuple(image.shape[-3:]), image.shape[-2]
    if shape == (PIXELS, PIXELS, 3):
        rows = image.unflatten(-3, (UPSTREAM_VIEW, -1))  # [..., y, T, 7 T, 3]
        tiles = rows.unflatten(-2, (UPSTREAM_VIEW, -1))[..., UPSTREAM_VIEW // 2, :, :]
        ahead, held = tiles[..., -2, :, :, :], tiles[..., -1, :, :, :]
        return read_types(ahead), read_types(held)
    if shape != (side, side, 3) or side % 2 == 0:
        raise ValueError(f"events need images of the agent's view, got {list(shape)}")
    return image[..., side // 2, side - 2, 0], image[..., side // 2, side - 1, 0]


def find_events(obs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is ahead of the agent and whether it carries anything, bool [...] by name.

    Args:
        obs: observations with images uint8, symbolic [..., V, V, 3], V odd, or in pixels of the
            view and tiles that ``envs.make`` gives unasked, [..., 56, 56, 3]; the agent is in the
            middle of the last row.

    Raises:
        ValueError: the images are none of these.
    """
    ahead, held = types_near(obs["image"])
    events = {f"facing {name}": ahead == number for name, number in FACED.items()}
    return events | {"carrying": torch.stack([held == number for number in CARRIED]).any(0)}
