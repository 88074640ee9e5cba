"""Making a batch, of levels named by id or of your own environments."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import gymnasium
import numpy as np
import torch

from .batch import Environments
from .devices import find_device
from .foreign import make_foreign_level, upstream_factory
from .interface import Options
from .layouts import Factory
from .registry import LEVELS, Level, find_level


def make(
    levels: str | Factory | Sequence[str | Factory],
    num_envs: int,
    device: str | torch.device = "cpu",
    seed: int = 0,
    observation: str = Options.observation,
    view: int = Options.view,
    tile_size: int = Options.tile_size,
    autoreset: bool = Options.autoreset,
    max_steps: int | None = Options.max_steps,
    workers: int | None = None,
    part: tuple[int, int] = (0, 1),
) -> Environments:
    """A batch of environments of one level, or equal shares of several.

    Args:
        levels: one or several of: an id from ``envs.levels()``, another id that Gymnasium knows, a
            function that makes a ``MiniGridEnv`` of your own. The last two draw layouts by their
            own code; their dynamics must be upstream's.
        num_envs: environments in total, at least one per level.
        device: "cpu" or "cuda".
        seed: environment i is seeded with ``seed + i`` at the first ``reset()``.
        observation: "symbolic", upstream's (type, color, state) of each cell in the agent's view;
            "rgb", that view in pixels, as upstream's ``RGBImgPartialObsWrapper``; "full", the
            symbols of the whole grid, as upstream's ``FullyObsWrapper``.
        view: side of the agent's square view in cells, odd, 3 to 31, as in ``ViewSizeWrapper``.
        tile_size: side of a cell in pixels, 1 to 64, for "rgb".
        autoreset: begin the next episode in the step that ends one; otherwise
            ``reset(mask=...)`` begins it.
        max_steps: steps until an episode is truncated, as upstream's argument (default: the
            level's).
        workers: processes that draw layouts by code other than the engine's (default: one per
            core); 0 draws them in this process.
        part: (k, n) for the k-th of n equal parts of the batch, counted from 0, one per process.
            ``num_envs`` counts all parts; a seed is that of the part's first environment.

    Raises:
        ValueError: an unknown level (the message names the nearest), an environment with rules of
            its own or that does not work, or a number out of range.
    """
    given = [levels] if isinstance(levels, str) or callable(levels) else list(levels)
    if not given:
        raise ValueError("expected at least one level, got none")
    if not isinstance(num_envs, int | np.integer):
        raise ValueError(f"num_envs must be a whole number, got {num_envs!r}")
    if num_envs < len(given):
        raise ValueError(f"num_envs must be at least one per level, {len(given)}, got {num_envs}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if workers is not None and workers < 0:
        raise ValueError(f"workers must not be negative, got {workers}")
    options = Options(observation, view, tile_size, autoreset, max_steps)
    count = os.cpu_count() or 1 if workers is None else workers
    found = [_find(level, count, max_steps) for level in given]
    shares = [num_envs // len(found) + (k < num_envs % len(found)) for k in range(len(found))]
    return Environments(found, _cut(shares, part), find_device(device), seed, options)


def _cut(shares: Sequence[int], part: tuple[int, int]) -> list[int]:
    """How much of each level's share falls into one part of the batch."""
    number, count = part
    if not 0 <= number < count:
        raise ValueError(f"part must be (k, n) with 0 <= k < n, got {part}")
    if sum(shares) % count:
        raise ValueError(f"num_envs must be a multiple of the {count} parts, got {sum(shares)}")
    size = sum(shares) // count
    ends = list(itertools.accumulate(shares))
    first, last = number * size, (number + 1) * size
    return [
        max(0, min(end, last) - max(end - share, first))
        for share, end in zip(shares, ends, strict=True)
    ]


def _find(level: str | Factory, workers: int, max_steps: int | None) -> Level:
    """The engine's level of that id, or one whose layouts upstream's code draws."""
    if callable(level):
        if max_steps is not None:
            raise ValueError("max_steps applies to ids only: your own function sets its own limit")
        return make_foreign_level(level, workers)
    if level not in LEVELS and level in gymnasium.registry:
        return make_foreign_level(upstream_factory(level, max_steps), workers, level)
    return find_level(level)
