"""Levels that are not the engine's own: upstream-style code draws their layouts."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from minigrid.envs.babyai.core.roomgrid_level import BabyAIMissionSpace
from minigrid.minigrid_env import MiniGridEnv

from .layouts import Factory, Layouts
from .record import MAX_WORDS, RECORD
from .registry import Level
from .translation.environments import read_environment, unwrap
from .translation.objects import ForeignRulesError
from .translation.rules import TRANSLATIONS
from .vocabulary import encode


def learn_missions(env: MiniGridEnv) -> int:
    """Add an environment's words to the vocabulary; returns the tokens of its longest mission."""
    space: Any = env.observation_space["mission"]
    if isinstance(space, BabyAIMissionSpace):
        return MAX_WORDS
    choices = space.ordered_placeholders or []
    longest = [max(options, key=lambda option: len(encode(option))) for options in choices]
    for options in choices:
        for option in options:
            encode(option)
    return max(len(encode(space.mission_func(*longest))), len(encode(env.mission)))


@contextlib.contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Name the environment in what it raises."""
    try:
        yield
    except ForeignRulesError as error:
        raise ForeignRulesError(f"{name} cannot run on the engine: {error}") from None
    except Exception as error:
        raise ValueError(f"{name} does not work: {type(error).__name__}: {error}") from error


def upstream_factory(id: str, max_steps: int | None = None) -> Factory:
    """A factory of Gymnasium's environment of that id, with a step limit (None: its own). It holds
    what the id stands for, which the processes that it is sent to may not know.

    Raises:
        ValueError: what the id stands for cannot be imported.
    """
    spec = gymnasium.spec(id)
    if isinstance(spec.entry_point, str):
        with faults_of(id):
            creator: Any = load_env_creator(spec.entry_point)
        spec = replace(spec, entry_point=creator)
    limit = {} if max_steps is None else {"max_steps": max_steps}
    return partial(gymnasium.make, spec, disable_env_checker=True, **limit)


def make_foreign_level(factory: Factory, workers: int, id: str | None = None) -> Level:
    """A level whose layouts an upstream-style environment draws.

    Raises:
        ForeignRulesError: its rules, objects or observations are not upstream's.
        ValueError: the environment cannot be made or reset, or not be sent to the workers.
    """
    name = id or getattr(factory, "__name__", "") or type(factory).__name__
    with faults_of(name):
        env = unwrap(factory())
        with contextlib.redirect_stdout(io.StringIO()):
            obs, _ = env.reset(seed=0)
        read_environment(np.zeros(1, RECORD)[0], env)
        if not np.array_equal(obs["image"], env.gen_obs()["image"]):
            raise ForeignRulesError(f"{type(env).__name__}'s reset() returns its own observations")
        if workers:
            cloudpickle.dumps(factory)
    return Level(
        id=name,
        generate=Layouts(factory, workers),
        params=(),
        width=env.width,
        height=env.height,
        rooms=(0, 0, 0),
        max_steps=max(1, env.max_steps),
        mission="",
        words=learn_missions(env),
        see_through=env.see_through_walls,
        rule=TRANSLATIONS[type(env).step].rule,
    )
