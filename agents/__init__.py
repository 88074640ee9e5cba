"""Agents: one encoder and head for all, and a core from a table of presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from metarims.config import Setting
from metarims.rims import RIMs, RIMsConfig
from metarims.schedule import Schedule

from .encoder import Encoder, SlotEncoder
from .lstm import LSTM
from .policy import Core, Last, RecurrentPolicy
from .presets import Preset, names, preset, settings
from .routing.blocks import Dense
from .routing.makers import MakerConfig
from .routing.network import RoutingNetwork
from .routing.policy import Memoryless, RoutingPolicy, number_levels
from .routing.router import RouterConfig

__all__ = ["RecurrentPolicy", "Spec", "make", "names", "preset", "schedule", "settings"]


class Spec(Protocol):
    """What an agent must know of its environments."""

    num_actions: int
    device: torch.device
    level_ids: list[str]

    @property
    def vocabulary_size(self) -> int: ...


def make(
    name: str,
    spec: Spec,
    options: Mapping[str, Setting] | None = None,
    seed: int = 0,
    levels: Sequence[str] = (),
) -> RecurrentPolicy:
    """An agent by its preset's name, on the environments' device.

    Args:
        name: one of `names()`.
        spec: the environments, or anything with their ``num_actions``, ``vocabulary_size``,
            ``level_ids`` and ``device``.
        options: settings that differ from the preset's row.
        seed: of the first parameters; the global random state is left alone.
        levels: what the agent is trained on, where that differs from the environments' levels.

    Raises:
        UsageError: an unknown name or setting (the message has the nearest), or a wrong value.
    """
    row = preset(name, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        agent = POLICIES[row.core](row, spec, list(levels) or spec.level_ids)
    return agent.to(spec.device)


def schedule(name: str, options: Mapping[str, Setting] | None = None) -> Schedule:
    """The loops that the preset learns by."""
    return preset(name, options).schedule()


def _encoder(row: Preset, spec: Spec) -> Encoder | SlotEncoder:
    if row.slots:
        return SlotEncoder(spec.vocabulary_size, row.features, row.width)
    return Encoder(spec.vocabulary_size, row.features, row.width, scale=row.cell_scale)


def _last(row: Preset, spec: Spec) -> Last | None:
    return Last(spec.num_actions, row.features) if row.hidden_state == "carry" else None


def _lstm(row: Preset, spec: Spec, levels: list[str]) -> RecurrentPolicy:
    core = LSTM(row.features, row.lstm_hidden)
    return _recurrent(row, spec, core, row.lstm_hidden)


def _rims(row: Preset, spec: Spec, levels: list[str]) -> RecurrentPolicy:
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
        row.knock_out,
        row.disabled,
    )
    return _recurrent(row, spec, RIMs(config), row.modules * row.hidden)


def _recurrent(row: Preset, spec: Spec, core: Core, features: int) -> RecurrentPolicy:
    return RecurrentPolicy(_encoder(row, spec), core, features, spec.num_actions, _last(row, spec))


def _routing(row: Preset, spec: Spec, levels: list[str]) -> RoutingPolicy:
    config = RouterConfig(
        row.maker,
        row.layout,
        row.router,
        row.agents,
        collaboration=row.collaboration,
        squash=row.squash,
        learning=MakerConfig(
            entropy=row.router_entropy,
            rate=row.router_rate,
            weighting=row.weighting,
            epsilon=row.epsilon,
        ),
    )
    tasks = torch.zeros(len(spec.level_ids), dtype=torch.int64)
    if row.meta == "task":
        tasks = number_levels(spec.level_ids, levels)
    count = {"task": len(levels), "verb": spec.vocabulary_size}.get(row.meta, 1)
    encoder = _encoder(row, spec)
    square = row.features, row.features
    layers = [Dense(row.blocks, *square, skip=row.skip) for _ in range(row.depth)]
    if row.recursive:
        layers = layers[:1] * row.depth
    network = RoutingNetwork(layers, config, row.features, count, count)
    core: Core = Memoryless()
    features = row.features
    if row.recurrent:
        core, features = LSTM(row.features, row.lstm_hidden), row.lstm_hidden
    return RoutingPolicy(
        encoder, network, core, features, spec.num_actions, _last(row, spec), row.meta, tasks
    )


POLICIES = {"lstm": _lstm, "rims": _rims, "routing": _routing}
