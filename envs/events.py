"""Events: what the agent faces and carries, read from its observations."""

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
PIXELS = UPSTREAM_VIEW * Options.tile_size  # side of a view in pixels, by default
CARRIED = (KEY_TYPE, BALL_TYPE, BOX_TYPE)


def types_near(image: Tensor) -> tuple[Tensor, Tensor]:
    """The types of the cell ahead of the agent and of what it carries, [...]."""
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
    """What the agent faces and whether it carries something, bool [...] by name.

    Args:
        obs: observations with images uint8 of the agent's view, symbolic [..., V, V, 3] with V odd,
            or in pixels of ``envs.make``'s default view and tiles, [..., 56, 56, 3]; the agent is
            in the middle of the last row.

    Raises:
        ValueError: the images are neither of these.
    """
    ahead, held = types_near(obs["image"])
    events = {f"facing {name}": ahead == number for name, number in FACED.items()}
    return events | {"carrying": torch.stack([held == number for number in CARRIED]).any(0)}
