"""Upstream's environments into a batch and back: ``load`` and ``dump``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Unpack

import gymnasium
import numpy as np
import torch
from minigrid.minigrid_env import MiniGridEnv

from .batch import Environments
from .devices import find_device
from .foreign import make_foreign_level
from .interface import Options, ViewOptions
from .layouts import Layouts
from .record import RECORD
from .registry import LEVELS, Level
from .translation.environments import (
    read_environment,
    read_mission,
    unwrap,
    write_environment,
)

APPEARANCE = {"agent_pov", "highlight", "render_mode", "screen_size", "tile_size"}


# --- into a batch -------------------------------------------------------------------------------


def load(
    upstream_envs: Sequence[gymnasium.Env[Any, Any]],
    device: str = "cpu",
    autoreset: bool = Options.autoreset,
    **options: Unpack[ViewOptions],
) -> Environments:
    """A batch in the state of upstream's environments, environment i in that of the i-th.

    Each is read where it stands in its episode, its random stream included, so that both go on
    alike through every later episode. Environments of the same registered id side by side make one
    level of the batch. One that is not a registered level draws its later layouts by itself, in
    this process, from a copy.

    Args:
        upstream_envs: environments that were reset.
        device: "cpu" or "cuda".
        autoreset: see ``envs.make``.
        options: observation, view (default: theirs) and tile_size; see ``envs.make``.

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
    chosen = Options(autoreset=autoreset, **{"view": views[0], **options})
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
    read_environment(record, env)
    read_mission(record, env.mission)
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
    write_environment(made, record)
    return made


def make_upstream(level: Level) -> MiniGridEnv:
    """An upstream environment of a level, in no state yet."""
    if isinstance(level.generate, Layouts):
        return unwrap(level.generate.factory())
    if level.id not in gymnasium.registry:
        raise ValueError(f"'{level.id}' is not a level of upstream's")
    return unwrap(gymnasium.make(level.id, disable_env_checker=True))
