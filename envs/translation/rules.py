"""The rules of upstream's environments, read and written: one row per ``step()`` of theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from minigrid.core.world_object import WorldObj
from minigrid.envs import (
    BlockedUnlockPickupEnv,
    DynamicObstaclesEnv,
    FetchEnv,
    GoToDoorEnv,
    GoToObjectEnv,
    KeyCorridorEnv,
    MemoryEnv,
    ObstructedMazeEnv,
    PutNearEnv,
    RedBlueDoorEnv,
    UnlockEnv,
    UnlockPickupEnv,
)
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv

from ..cells import CELL_OF
from ..instructions import OPEN_IT, PICK_UP
from ..sprites import make_object
from .instructions import make_instruction, read_instruction, read_single
from .objects import Things, tracked

Read = Callable[[np.void, Any, Things], None]
Write = Callable[[Any, np.void, Sequence[WorldObj]], None]


def index_of(env: MiniGridEnv, place: Sequence[int]) -> int:
    """The index of the cell at (x, y)."""
    return int(place[1]) * int(env.grid.width) + int(place[0])


def place_of(env: MiniGridEnv, at: int) -> tuple[int, int]:
    """(x, y) of a cell's index."""
    return int(at) % env.grid.width, int(at) // env.grid.width


def read_nothing(record: np.void, env: MiniGridEnv, things: Things) -> None:
    """The goal and lava are all there is."""


def write_nothing(env: MiniGridEnv, record: np.void, things: Sequence[WorldObj]) -> None:
    """The goal and lava are all there is."""


def read_babyai(record: np.void, env: RoomGridLevel, things: Things) -> None:
    """BabyAI's instruction, and how far it is fulfilled."""
    read_instruction(record, env.instrs, things)


def write_babyai(env: RoomGridLevel, record: np.void, things: Sequence[WorldObj]) -> None:
    """BabyAI's instruction and its words."""
    env.surface = env.mission
    env.instrs = make_instruction(env, record, things)


def read_door(record: np.void, env: UnlockEnv, things: Things) -> None:
    """The one door, as an instruction to open it."""
    read_single(record, OPEN_IT, env.door, things)


def write_door(env: UnlockEnv, record: np.void, things: Sequence[WorldObj]) -> None:
    """The one door, whose state upstream checks."""
    env.door = tracked(record, 0, things)[0]


def read_prize(record: np.void, env: KeyCorridorEnv, things: Things) -> None:
    """The object to pick up, as an instruction."""
    read_single(record, PICK_UP, env.obj, things)
    record["leaf_held"][0] = things.number(env.carrying)


def write_prize(env: KeyCorridorEnv, record: np.void, things: Sequence[WorldObj]) -> None:
    """The object to pick up, if a layout was found."""
    if record["root"]:
        env.obj = tracked(record, 0, things)[0]


def write_obstacles(env: DynamicObstaclesEnv, record: np.void, things: Sequence[WorldObj]) -> None:
    """The obstacles in the order in which they move; in reading, ``Things`` numbers them first."""
    env.obstacles = list(things)


def read_ends(record: np.void, env: MemoryEnv, things: Things) -> None:
    """The hallway's right and wrong end."""
    record["target"] = index_of(env, env.success_pos)
    record["decoy"] = index_of(env, env.failure_pos)


def write_ends(env: MemoryEnv, record: np.void, things: Sequence[WorldObj]) -> None:
    """The hallway's right and wrong end."""
    env.success_pos = place_of(env, record["target"])
    env.failure_pos = place_of(env, record["decoy"])


def read_target_place(record: np.void, env: GoToDoorEnv | GoToObjectEnv, things: Things) -> None:
    """Where to say that one is done."""
    record["target"] = index_of(env, env.target_pos)


def write_target_place(
    env: GoToDoorEnv | GoToObjectEnv, record: np.void, things: Sequence[WorldObj]
) -> None:
    """Where to say that one is done."""
    env.target_pos = place_of(env, record["target"])


def read_wanted(record: np.void, env: FetchEnv, things: Things) -> None:
    """What to fetch, by its type and color."""
    record["target"] = CELL_OF[OBJECT_TO_IDX[env.targetType], COLOR_TO_IDX[env.targetColor], 0]


def write_wanted(env: FetchEnv, record: np.void, things: Sequence[WorldObj]) -> None:
    """What to fetch, by its type and color."""
    wanted = make_object(int(record["target"]))
    assert wanted is not None
    env.targetType, env.targetColor = wanted.type, wanted.color


def read_mover(record: np.void, env: PutNearEnv, things: Things) -> None:
    """What to put near which place."""
    wanted = env.move_type, env.moveColor
    record["target"] = next(n for n, o in enumerate(things.objects) if (o.type, o.color) == wanted)
    record["decoy"] = index_of(env, env.target_pos)


def write_mover(env: PutNearEnv, record: np.void, things: Sequence[WorldObj]) -> None:
    """What to put near which place."""
    mover = things[int(record["target"])]
    env.move_type, env.moveColor = mover.type, mover.color
    env.target_pos = place_of(env, record["decoy"])


def read_doors(record: np.void, env: RedBlueDoorEnv, things: Things) -> None:
    """The door to open first, and the other."""
    record["target"] = env.grid.grid.index(env.red_door)
    record["decoy"] = env.grid.grid.index(env.blue_door)


def write_doors(env: RedBlueDoorEnv, record: np.void, things: Sequence[WorldObj]) -> None:
    """The door to open first, and the other."""
    env.red_door = env.grid.grid[int(record["target"])]
    env.blue_door = env.grid.grid[int(record["decoy"])]


class Translation(NamedTuple):
    """How the rule of one of upstream's classes is read and written.

    Attributes:
        upstream: the class whose ``step()`` the environments have.
        rule: the name of the rule in ``envs.rules.RULES``.
        read: ``(record, env, things)``, reads what upstream's rule uses into the record.
        write: ``(env, record, things)``, the reverse.
    """

    upstream: type[MiniGridEnv]
    rule: str
    read: Read
    write: Write


ROWS = (
    Translation(MiniGridEnv, "standard", read_nothing, write_nothing),
    Translation(RoomGridLevel, "standard", read_babyai, write_babyai),
    Translation(UnlockEnv, "standard", read_door, write_door),
    Translation(UnlockPickupEnv, "standard", read_prize, write_prize),
    Translation(BlockedUnlockPickupEnv, "standard", read_prize, write_prize),
    Translation(KeyCorridorEnv, "standard", read_prize, write_prize),
    Translation(ObstructedMazeEnv, "standard", read_prize, write_prize),
    Translation(DynamicObstaclesEnv, "obstacles", read_nothing, write_obstacles),
    Translation(MemoryEnv, "memory", read_ends, write_ends),
    Translation(GoToDoorEnv, "say-done", read_target_place, write_target_place),
    Translation(GoToObjectEnv, "say-done", read_target_place, write_target_place),
    Translation(FetchEnv, "fetch", read_wanted, write_wanted),
    Translation(PutNearEnv, "put-near", read_mover, write_mover),
    Translation(RedBlueDoorEnv, "in-order", read_doors, write_doors),
)

TRANSLATIONS: dict[Callable[..., Any], Translation] = {row.upstream.step: row for row in ROWS}
