"""Upstream's environments into a batch and back: ``load`` and ``dump``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT
from minigrid.core.grid import Grid
from minigrid.core.roomgrid import RoomGrid
from minigrid.core.world_object import WorldObj
from minigrid.envs import (
    DynamicObstaclesEnv,
    FetchEnv,
    GoToDoorEnv,
    GoToObjectEnv,
    MemoryEnv,
    PutNearEnv,
    RedBlueDoorEnv,
    UnlockEnv,
)
from minigrid.envs.babyai.core import verifier
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv

from .batch import Environments, Options, find_device
from .cells import EMPTY
from .foreign import Layouts, make_foreign_level
from .instructions import ALONE, ANY, CONTINUE, FAILURE, SUCCESS
from .record import NOTHING, RECORD
from .registry import LEVELS, Level
from .sprites import make_object
from .translate import (
    LEAVES,
    PLACES,
    ROOTS,
    make_stream,
    unwrap,
    write_mission,
    write_record,
)
from .vocabulary import decode

STATUS_WORDS = {SUCCESS: "success", FAILURE: "failure", CONTINUE: False}
APPEARANCE = {"agent_pov", "highlight", "render_mode", "screen_size", "tile_size"}


# --- into a batch -------------------------------------------------------------------------------


def load(
    upstream_envs: Sequence[gymnasium.Env[Any, Any]], device: str = "cpu", **options: Any
) -> Environments:
    """A batch in the state of upstream's environments, environment i in that of the i-th.

    Each is read where it stands in its episode, its random stream included, so that both go on
    alike through every later episode. Environments of the same registered id side by side make one
    level of the batch. One that is not a registered level draws its later layouts by itself, in
    this process, from a copy.

    Args:
        upstream_envs: environments that were reset.
        device: "cpu" or "cuda".
        options: observation, view (default: theirs), tile_size, autoreset; see ``envs.make``.

    Raises:
        ForeignRulesError: one has rules, objects or a state that the engine does not know.
        ValueError: there is none, or their views differ.
    """
    inner = [unwrap(env) for env in upstream_envs]
    views = sorted({env.agent_view_size for env in inner})
    if len(views) != 1:
        raise ValueError(f"expected environments of one agent_view_size, got {views or 'none'}")
    levels: list[Level] = []
    shares: list[int] = []
    for id, run in itertools.groupby(inner, key=registered_id):
        members = list(run)
        known = [LEVELS[id]] if id else [foreign_level(env) for env in members]
        levels += known
        shares += [len(members)] if id else [1] * len(members)
    chosen = Options(**{"view": views[0], **options})
    batch = Environments(levels, shares, find_device(device), 0, chosen)
    rows = [read_row(row, env) for row, env in zip(batch.state.cpu().numpy(), inner, strict=True)]
    batch.state = torch.from_numpy(np.stack(rows))
    return batch


def registered_id(env: MiniGridEnv) -> str:
    """The level that an environment is an unchanged instance of, "" if of none."""
    if env.spec is None or env.spec.id not in LEVELS or env.spec.id not in gymnasium.registry:
        return ""
    given = {name: value for name, value in env.spec.kwargs.items() if name not in APPEARANCE}
    given.pop("agent_view_size", None)
    return env.spec.id if given == gymnasium.spec(env.spec.id).kwargs else ""


def foreign_level(env: MiniGridEnv) -> Level:
    """A level whose later layouts come from a copy of an environment."""
    return make_foreign_level(partial(deepcopy, env), workers=0)


def read_row(row: np.ndarray, env: MiniGridEnv) -> np.ndarray:
    """A record's bytes with an upstream environment read into them."""
    memory = np.zeros(RECORD.itemsize, np.uint8)
    memory[: row.size] = row
    record = memory.view(RECORD)[0]
    write_record(record, env)
    write_mission(record, env.mission)
    return memory[: row.size]


# --- and back -----------------------------------------------------------------------------------


def dump(env: Environments, i: int) -> MiniGridEnv:
    """An upstream environment in the state of environment i; both go on alike.

    Raises:
        IndexError: there is no environment i.
        ValueError: its level is not one of upstream's.
    """
    record = env.record(i)
    made = make_upstream(env.levels[int(env.task[i])])
    made.grid = Grid(int(record["width"]), int(record["height"]))
    if isinstance(made, RoomGrid):
        RoomGrid._gen_grid(
            made, made.width, made.height
        )  # the rooms that positions are looked up in
        made.grid = Grid(made.width, made.height)
    things = make_things(record)
    fill_grid(made.grid, record, things)
    made.agent_pos = (int(record["x"]), int(record["y"]))
    made.agent_dir, made.step_count = int(record["direction"]), int(record["steps"])
    made.max_steps, made.mission = int(record["max_steps"]), decode(record["mission"])
    made.carrying = carried_object(record, things)
    made.np_random = make_stream(record)
    fill_rule(made, record, things)
    return made


def make_upstream(level: Level) -> MiniGridEnv:
    """An upstream environment of a level, in no state yet."""
    if isinstance(level.generate, Layouts):
        return unwrap(level.generate.factory())
    if level.id not in gymnasium.registry:
        raise ValueError(f"'{level.id}' is not a level of upstream's")
    return unwrap(gymnasium.make(level.id, disable_env_checker=True))


def make_things(record: Any) -> list[WorldObj]:
    """An object for each thing of a record, boxes filled."""
    count = int(record["things"])
    made: list[Any] = []
    for number in range(count):
        at = int(record["thing_at"][number])
        cell = record["thing_cell"][number] if at == NOTHING else record["grid"][at]
        made.append(make_object(int(cell)))
    for number, inside in enumerate(record["thing_inside"][:count]):
        if inside != NOTHING:
            made[number].contains = made[inside]
    return made


def fill_grid(grid: Grid, record: Any, things: list[WorldObj]) -> None:
    """Put a record's things and other cells onto an empty grid."""
    at_place = {int(at): obj for at, obj in zip(record["thing_at"], things, strict=False)}
    for at in range(grid.width * grid.height):
        obj = at_place.get(at) or make_object(int(record["grid"][at]))
        if obj is not None:
            obj.init_pos = obj.cur_pos = (at % grid.width, at // grid.width)
        grid.grid[at] = obj


def carried_object(record: Any, things: list[WorldObj]) -> WorldObj | None:
    """What the agent carries."""
    if record["carrying"] == EMPTY:
        return None
    held = int(record["held"])
    carried = make_object(int(record["carrying"])) if held == NOTHING else things[held]
    assert carried is not None
    carried.cur_pos = np.array([-1, -1])
    return carried


def fill_rule(made: Any, record: Any, things: list[WorldObj]) -> None:
    """Set what an environment's own rules look at."""
    target, decoy = int(record["target"]), int(record["decoy"])
    if isinstance(made, RoomGridLevel):
        made.surface = made.mission
        made.instrs = make_instruction(made, record, things)
    elif isinstance(made, UnlockEnv):
        made.door = tracked(record, 0, things)[0]
    elif record["root"]:
        made.obj = tracked(record, 0, things)[0]
    elif isinstance(made, DynamicObstaclesEnv):
        made.obstacles = list(things)
    elif isinstance(made, MemoryEnv):
        made.success_pos, made.failure_pos = place_of(made, target), place_of(made, decoy)
    elif isinstance(made, GoToDoorEnv | GoToObjectEnv):
        made.target_pos = place_of(made, target)
    elif isinstance(made, FetchEnv):
        wanted = make_object(target)
        assert wanted is not None
        made.targetType, made.targetColor = wanted.type, wanted.color
    elif isinstance(made, PutNearEnv):
        made.move_type, made.moveColor = things[target].type, things[target].color
        made.target_pos = place_of(made, decoy)
    elif isinstance(made, RedBlueDoorEnv):
        made.red_door, made.blue_door = made.grid.grid[target], made.grid.grid[decoy]


def place_of(env: MiniGridEnv, at: int) -> tuple[int, int]:
    """(x, y) of a cell's index."""
    return at % env.grid.width, at // env.grid.width


def tracked(record: Any, slot: int, things: list[WorldObj]) -> list[WorldObj]:
    """The objects that a description is about."""
    mask = int(record["desc_things"][slot])
    return [obj for n, obj in enumerate(things) if mask >> n & 1]


def make_instruction(env: MiniGridEnv, record: Any, things: list[WorldObj]) -> verifier.Instr:
    """A record's instruction, as far fulfilled."""
    root = int(record["root"])
    if root == ALONE:
        return make_half(env, record, 0, things)
    joined = next(kind for kind, number in ROOTS.items() if number == root)
    halves = [make_half(env, record, half, things) for half in range(2)]
    whole = joined(*halves, strict=bool(record["root_strict"]))
    whole.env = env
    whole.a_done, whole.b_done = (STATUS_WORDS[int(status)] for status in record["half_status"])
    return whole


def make_half(env: MiniGridEnv, record: Any, half: int, things: list[WorldObj]) -> verifier.Instr:
    """One leaf, or two joined by "and"."""
    leaves = [
        make_leaf(env, record, 2 * half + n, things) for n in range(record["half_leaves"][half])
    ]
    if len(leaves) == 1:
        return leaves[0]
    both = verifier.AndInstr(*leaves)
    both.env = env
    statuses = record["leaf_status"][2 * half : 2 * half + 2]
    both.a_done, both.b_done = (STATUS_WORDS[int(status)] for status in statuses)
    return both


def make_leaf(
    env: MiniGridEnv, record: Any, number: int, things: list[WorldObj]
) -> verifier.ActionInstr:
    """One leaf with the objects that it tracks."""
    kind = next(kind for kind, n in LEAVES.items() if n == record["leaf_kind"][number])
    slots = range(2 * number, 2 * number + (2 if kind is verifier.PutNextInstr else 1))
    leaf = kind(*(make_description(env.grid, record, slot, things) for slot in slots))
    leaf.env = env
    leaf.strict = bool(record["leaf_strict"][number])
    leaf.lastStepMatch = bool(record["leaf_match"][number])
    held = int(record["leaf_held"][number])
    leaf.preCarrying = None if held == NOTHING else things[held]
    return leaf


def make_description(
    grid: Grid, record: Any, slot: int, things: list[WorldObj]
) -> verifier.ObjDesc:
    """One description: the objects that it tracks, and where upstream last saw them."""
    kind, color = int(record["desc_type"][slot]), int(record["desc_color"][slot])
    place = int(record["desc_place"][slot])
    desc = verifier.ObjDesc(
        None if kind == ANY else IDX_TO_OBJECT[kind],
        None if color == ANY else IDX_TO_COLOR[color],
        next(name for name, number in PLACES.items() if number == place),
    )
    desc.obj_set = tracked(record, slot, things)
    seen = [int(record["thing_seen_at"][things.index(obj)]) for obj in desc.obj_set]
    desc.obj_poss = [(at % grid.width, at // grid.width) for at in seen if at != NOTHING]
    return desc
