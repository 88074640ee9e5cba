"""What an agent sees itself about, read off symbolic observations."""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import BALL_TYPE, BOX_TYPE, DOOR_TYPE, GOAL_TYPE, KEY_TYPE, LAVA_TYPE, WALL_TYPE

FACED = {
    "a wall": WALL_TYPE,
    "a door": DOOR_TYPE,
    "a key": KEY_TYPE,
    "a ball": BALL_TYPE,
    "a box": BOX_TYPE,
    "the goal": GOAL_TYPE,
    "lava": LAVA_TYPE,
}
CARRIED = (KEY_TYPE, BALL_TYPE, BOX_TYPE)


def find_events(obs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is ahead of the agent and whether it carries anything, bool [...] by name.

    Args:
        obs: observations with symbolic images uint8 [..., V, V, 3], V odd; the agent is in the
            middle of the last row.

    Raises:
        ValueError: the images are no such symbols.
    """
    image = obs["image"]
    side = image.shape[-2]
    if image.shape[-3:] != (side, side, 3) or side % 2 == 0:
        raise ValueError(f"events need symbolic images [V, V, 3], got {list(image.shape[-3:])}")
    ahead = image[..., side // 2, side - 2, 0]
    held = image[..., side // 2, side - 1, 0]
    events = {f"facing {name}": ahead == number for name, number in FACED.items()}
    return events | {"carrying": torch.stack([held == number for number in CARRIED]).any(0)}
