"""Whole environments: which ones the engine can run, and their state in a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker
from minigrid.core.actions import Actions
from minigrid.core.grid import Grid
from minigrid.core.roomgrid import RoomGrid
from minigrid.envs import DynamicObstaclesEnv
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv

from ..record import MAX_WORDS, NOTHING
from ..rules import rule_number
from ..vocabulary import decode, encode
from .instructions import tracked_objects
from .objects import (
    ForeignRulesError,
    Things,
    carried_object,
    cell_of,
    fill_grid,
    make_things,
)
from .rules import TRANSLATIONS

HARMLESS_WRAPPERS = (OrderEnforcing, PassiveEnvChecker)

# What an environment must not override, for upstream's rules to hold in it.
DYNAMICS = ("_reward", "dir_vec", "front_pos", "gen_obs", "gen_obs_grid", "get_view_exts")


def unwrap(env: gymnasium.Env[Any, Any]) -> MiniGridEnv:
    """The ``MiniGridEnv`` inside wrappers that change nothing.

    Raises:
        ForeignRulesError: another wrapper, no ``MiniGridEnv``, or behaviour other than upstream's.
    """
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, HARMLESS_WRAPPERS):
            raise ForeignRulesError(f"{type(env).__name__} changes what the environment does")
        env = env.env
    if not isinstance(env, MiniGridEnv):
        raise ForeignRulesError(f"{type(env).__name__} is not a MiniGridEnv")
    if not is_upstreams(env, "step", *TRANSLATIONS):
        raise ForeignRulesError(f"{type(env).__name__} has a step() of its own")
    owned = [part for part in DYNAMICS if not is_upstreams(env, part, getattr(MiniGridEnv, part))]
    if isinstance(env, RoomGridLevel):
        part = "update_objs_poss"
        owned += [] if is_upstreams(env, part, getattr(RoomGridLevel, part)) else [part]
    if owned:
        raise ForeignRulesError(f"{type(env).__name__} has a {owned[0]} of its own")
    if type(env.grid) is not Grid or env.actions is not Actions:
        raise ForeignRulesError(f"{type(env).__name__} has a grid or actions of its own")
    return env


def is_upstreams(env: MiniGridEnv, part: str, *known: Any) -> bool:
    """Whether the class attribute is one of ``known``, and not shadowed in the instance."""
    return part not in vars(env) and getattr(type(env), part) in known


def read_environment(record: np.void, env: MiniGridEnv) -> None:
    """Read an upstream environment, reset before, into a record, without its mission.

    Raises:
        ForeignRulesError: it was not reset, or a record cannot hold its state.
    """
    if env.agent_pos is None:
        raise ForeignRulesError(f"{type(env).__name__} was not reset")
    made, drawn = (env.width, env.height), (env.grid.width, env.grid.height)
    if drawn != made:
        raise ForeignRulesError(f"{type(env).__name__} is made for {made} cells, drew {drawn}")
    things = number_things(env)
    record["width"], record["height"] = env.grid.width, env.grid.height
    record["full_width"], record["full_height"] = env.grid.width, env.grid.height
    record["x"], record["y"] = env.agent_pos
    record["direction"], record["steps"] = env.agent_dir, env.step_count
    record["max_steps"], record["see_through"] = env.max_steps, env.see_through_walls
    record["take_at_start"] = NOTHING
    record["carrying"], record["held"] = cell_of(env.carrying), things.number(env.carrying)
    record["grid"][: len(env.grid.grid)] = [cell_of(obj) for obj in env.grid.grid]
    things.fill(record)
    if isinstance(env, RoomGrid):
        record["room_size"] = env.room_size
        record["room_rows"], record["room_columns"] = env.num_rows, env.num_cols
    record["root"] = 0
    translation = TRANSLATIONS[type(env).step]
    record["rule"] = rule_number(translation.rule)
    translation.read(record, env, things)
    read_stream(record, env.np_random)


def number_things(env: MiniGridEnv) -> Things:
    """The environment's objects, numbered as in the record."""
    if isinstance(env, DynamicObstaclesEnv):
        return Things(env, first=env.obstacles)
    if isinstance(env, RoomGridLevel):
        return Things(env, tracked=list(tracked_objects(env.instrs)))
    return Things(env)


def read_mission(record: np.void, mission: str) -> None:
    """Write a mission's tokens into a record.

    Raises:
        ForeignRulesError: it is too long.
    """
    words = encode(mission)
    if len(words) > MAX_WORDS:
        raise ForeignRulesError(f"a mission has at most {MAX_WORDS} words, got {len(words)}")
    record["mission"] = words + [0] * (MAX_WORDS - len(words))
    record["mission_length"] = len(words)


def read_stream(record: np.void, generator: np.random.Generator) -> None:
    """Read the state of a random stream into a record.

    Raises:
        ForeignRulesError: it is not PCG64, which Gymnasium uses.
    """
    state: Any = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise ForeignRulesError(f"random streams are PCG64, got {state['bit_generator']}")
    record["rng_high"], record["rng_low"] = _halves(state["state"]["state"])
    record["increment_high"], record["increment_low"] = _halves(state["state"]["inc"])
    record["has_half_word"], record["half_word"] = state["has_uint32"], state["uinteger"]


def _halves(number: int) -> tuple[int, int]:
    """The upper and the lower 64 bits."""
    return number >> 64, number & ((1 << 64) - 1)


def make_stream(record: np.void | Mapping[str, int]) -> np.random.Generator:
    """A NumPy generator in the state of the record's stream."""
    generator = np.random.Generator(np.random.PCG64())
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {
            "state": int(record["rng_high"]) << 64 | int(record["rng_low"]),
            "inc": int(record["increment_high"]) << 64 | int(record["increment_low"]),
        },
        "has_uint32": int(record["has_half_word"]),
        "uinteger": int(record["half_word"]),
    }
    return generator


def write_environment(made: MiniGridEnv, record: np.void) -> None:
    """Write a record's state into an upstream environment of its level."""
    made.grid = Grid(int(record["width"]), int(record["height"]))
    if isinstance(made, RoomGrid):
        # makes the rooms, in which upstream looks up positions
        RoomGrid._gen_grid(made, made.width, made.height)
        made.grid = Grid(made.width, made.height)
    things = make_things(record)
    fill_grid(made.grid, record, things)
    made.agent_pos = (int(record["x"]), int(record["y"]))
    made.agent_dir, made.step_count = int(record["direction"]), int(record["steps"])
    made.max_steps, made.mission = int(record["max_steps"]), decode(record["mission"])
    made.carrying = carried_object(record, things)
    made.np_random = make_stream(record)
    TRANSLATIONS[type(made).step].write(made, record, things)
