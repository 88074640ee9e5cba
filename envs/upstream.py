"""Conversion of upstream's environments to a batch and back: ``load`` and ``dump``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Unpack

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from minigrid.core.mission import MissionSpace
from minigrid.envs.babyai.core.roomgrid_level import BabyAIMissionSpace
from minigrid.minigrid_env import MiniGridEnv

from .batch import Environments
from .devices import find_device
from .foreign import make_foreign_level, upstream_factory
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

    Each is read at its point in the episode, random stream included, so that both behave alike
    through all later episodes. Consecutive environments of the same registered id make one level
    of the batch. For one that is not a registered level, a copy draws the later layouts, in this
    process.

    Args:
        upstream_envs: the environments, reset before.
        device: "cpu" or "cuda".
        autoreset: see ``envs.make``.
        options: observation, view (default: theirs) and tile_size; see ``envs.make``.

    Raises:
        ForeignRulesError: one has rules, objects or a state that the engine does not know.
        ValueError: there are none, or their views differ.
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
    """The id of the level that an environment is an unmodified instance of, "" if of none."""
    if env.spec is None or env.spec.id not in LEVELS or env.spec.id not in gymnasium.registry:
        return ""
    given = {name: value for name, value in env.spec.kwargs.items() if name not in APPEARANCE}
    given.pop("agent_view_size", None)
    return env.spec.id if given == gymnasium.spec(env.spec.id).kwargs else ""


def foreign_level(env: MiniGridEnv) -> Level:
    """A level whose layouts a copy of an environment draws."""
    return make_foreign_level(partial(deepcopy, env), workers=0)


def read_row(row: np.ndarray, env: MiniGridEnv) -> np.ndarray:
    """A record's bytes with the state of an upstream environment read into them."""
    memory = np.zeros(RECORD.itemsize, np.uint8)
    memory[: row.size] = row
    record = memory.view(RECORD)[0]
    read_environment(record, env)
    read_mission(record, env.mission)
    return memory[: row.size]


# --- and back -----------------------------------------------------------------------------------


class Likeness(MiniGridEnv):
    """A stand-in for a level that upstream lacks: it shows states but draws no layouts."""

    def __init__(self, level: Level) -> None:
        super().__init__(
            BabyAIMissionSpace(),
            width=level.width,
            height=level.height,
            max_steps=max(1, level.max_steps),
            see_through_walls=level.see_through,
        )

    def _gen_grid(self, width: int, height: int) -> None:
        raise NotImplementedError("this environment only shows the engine's state")


def dump(env: Environments, i: int) -> MiniGridEnv:
    """An upstream environment in the state of environment i; both then behave alike.

    Raises:
        IndexError: there is no environment i.
        ValueError: upstream does not have its level.
    """
    record = env.record(i)
    level = env.levels[int(env.task[i])]
    if not is_upstreams(level):
        raise ValueError(f"'{level.id}' is not a level of upstream's")
    made = make_likeness(level, env.options)
    write_environment(made, record)
    return made


def is_upstreams(level: Level) -> bool:
    """Whether upstream's code can make an environment of a level."""
    return isinstance(level.generate, Layouts) or level.id in gymnasium.registry


def make_likeness(level: Level, options: Options) -> MiniGridEnv:
    """An upstream environment of a level, or a ``Likeness``, not in any particular state yet."""
    if isinstance(level.generate, Layouts):
        made = unwrap(level.generate.factory())
    elif is_upstreams(level):
        made = unwrap(upstream_factory(level.id, options.max_steps)())
    else:
        made = Likeness(level)
    image = spaces.Box(0, 255, (options.view, options.view, 3), np.uint8)
    made.agent_view_size = options.view
    made.observation_space = spaces.Dict({**made.observation_space.spaces, "image": image})
    return made


def mission_space(env: Environments) -> MissionSpace:
    """Upstream's mission space for a batch; BabyAI's if its levels have different ones."""
    found = [make_likeness(each, env.options).observation_space["mission"] for each in env.levels]
    alike = all(space == found[0] for space in found)
    return found[0] if alike else BabyAIMissionSpace()
