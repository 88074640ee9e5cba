"""The options of a batch and the result of a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import torch
from torch import Tensor

Observation = dict[str, Tensor]
OBSERVATIONS = ("symbolic", "rgb", "full")
UPSTREAM_VIEW = 7


@dataclass(frozen=True)
class Options:
    """Observation, autoreset and step limit of a batch; see ``envs.make``.

    Raises:
        ValueError: an unknown observation or a number out of range.
    """

    observation: str = "symbolic"
    view: int = UPSTREAM_VIEW
    tile_size: int = 8
    autoreset: bool = True
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if self.observation not in OBSERVATIONS:
            raise ValueError(f"observation must be one of {OBSERVATIONS}, got '{self.observation}'")
        if self.view % 2 == 0 or not 3 <= self.view <= 31:
            raise ValueError(f"view must be odd, 3 to 31, got {self.view}")
        if not 1 <= self.tile_size <= 64:
            raise ValueError(f"tile_size must be 1 to 64, got {self.tile_size}")
        if self.max_steps is not None and not 1 <= self.max_steps < 2**31:
            raise ValueError(f"max_steps must be 1 to {2**31 - 1}, got {self.max_steps}")


class ViewOptions(TypedDict, total=False):
    """The arguments of ``envs.make`` for the observation."""

    observation: str
    view: int
    tile_size: int


class EngineOptions(ViewOptions, total=False):
    """Those, and device, seed, workers and step limit."""

    device: str | torch.device
    seed: int
    workers: int | None
    max_steps: int | None


class MakeOptions(EngineOptions, total=False):
    """Those, and autoreset."""

    autoreset: bool


@dataclass(frozen=True)
class Step:
    """The result of a batched step.

    Attributes:
        obs: the observations to act on next: ``image`` uint8, symbolic [B, V, V, 3] or full
            [B, W, H, 3], indexed [x, y, channel], or pixels [B, V * T, V * T, 3]; ``direction``
            uint8 [B]; ``mission`` int16 [B, L]. With autoreset, the first of the new episode
            where one ended.
        exact_reward: float64 [B], equal to upstream's (on a GPU up to the last bit).
        terminated, truncated: bool [B]; both may be true.
        task: int64 [B], each environment's level as an index into ``Environments.level_ids``.
    """

    obs: Observation
    exact_reward: Tensor
    terminated: Tensor
    truncated: Tensor
    task: Tensor
    _ended: Tensor
    _last: Observation

    @cached_property
    def reward(self) -> Tensor:
        """The reward, float32 [B]."""
        return self.exact_reward.to(torch.float32)

    @cached_property
    def final_obs(self) -> Observation:
        """The observations that the actions led to, shaped like ``obs``.

        Where an episode ended, its last one, from which to bootstrap after truncation; elsewhere
        equal to ``obs``. Built on first access.
        """
        full = {name: tensor.clone() for name, tensor in self.obs.items()}
        for name, rows in self._last.items():
            full[name][self._ended] = rows
        return full
