"""Agents: one encoder and head for all, and a core from a table of presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch

from metarims.config import Setting
from metarims.rims import RIMs, RIMsConfig
from metarims.schedule import Schedule

from .encoder import Encoder
from .lstm import LSTM
from .policy import Core, Last, RecurrentPolicy
from .presets import Preset, names, preset

__all__ = ["RecurrentPolicy", "Spec", "make", "names", "preset", "schedule"]


class Spec(Protocol):
    """What an agent must know of its environments."""

    num_actions: int
    device: torch.device

    @property
    def vocabulary_size(self) -> int: ...


def make(
    name: str, spec: Spec, options: Mapping[str, Setting] | None = None, seed: int = 0
) -> RecurrentPolicy:
    """An agent by its preset's name, on the environments' device.

    Args:
        name: one of `names()`.
        spec: the environments, or anything with their ``num_actions``, ``vocabulary_size`` and
            ``device``.
        options: settings that differ from the preset's row.
        seed: of the first parameters; the global random state is left alone.

    Raises:
        UsageError: an unknown name or setting (the message has the nearest), or a wrong value.
    """
    row = preset(name, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(spec.vocabulary_size, row.features, row.width)
        core, features = CORES[row.core](row)
        last = Last(spec.num_actions, row.features) if row.hidden_state == "carry" else None
        agent = RecurrentPolicy(encoder, core, features, spec.num_actions, last)
    return agent.to(spec.device)


def schedule(name: str, options: Mapping[str, Setting] | None = None) -> Schedule:
    """The loops that the preset learns by."""
    return preset(name, options).schedule()


def _lstm(row: Preset) -> tuple[Core, int]:
    return LSTM(row.features, row.lstm_hidden), row.lstm_hidden


def _rims(row: Preset) -> tuple[Core, int]:
    config = RIMsConfig(
        row.features,
        row.modules,
        row.active,
        row.hidden,
        row.attention,
        row.dynamics,
        row.choice,
        row.heads,
        row.key,
        row.value,
        row.communication_heads,
        row.communication_key,
    )
    return RIMs(config), row.modules * row.hidden


CORES = {"lstm": _lstm, "rims": _rims}
