"""Presets small enough for probes."""

import torch

import agents  # noqa: F401 (registers the presets)
from metarims import runs
from metarims.config import find_preset
from metarims.registry import names
from metarims.settings import flatten, replace_at

from .probes import Contexts, Linear

PRESETS = [name for name in names("preset") if not name.startswith("toy")]


def configured(preset="metarims", **changes):
    """A preset with spans a quarter as long, small layers, and some settings changed.

    Paths have two underscores for a dot; those that the preset lacks are ignored.
    """
    config = find_preset(preset)
    small = {
        "num_envs": 8,
        "fast.span": config.loops.fast.span // 4,
        "slow.span": config.loops.slow.span // 4,
        "steps": config.loops.steps // 4,
        "encoder.features": 16,
        "core.hidden": 8 if flatten(config)["core"] == "rims" else 40,
        "core.key": 8,
        "core.value": 16,
    }
    own = {path.replace("__", "."): value for path, value in changes.items()}
    there = flatten(config)
    return replace_at(config, {path: v for path, v in (small | own).items() if path in there})


def make_agent(preset="metarims", seed=0, **changes):
    """A small preset's agent with the probes' encoder."""
    return agent_of(configured(preset, **changes), seed)


def agent_of(config, seed=0):
    agent = config.agent.make(Contexts(1), seed)
    torch.manual_seed(seed)
    agent.encoder = Linear(Contexts.seen, 16)
    return agent


def create_run(config):
    """A run that has only its configuration, and that nobody trains."""
    with runs.create_run(config) as run:
        return run
