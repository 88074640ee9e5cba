"""A random search of equal effort for several agents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..config import RunConfig
from ..runs import Run
from ..settings import Leaf, flatten, replace_at
from .curves import read_curve

Draw = Callable[[np.random.Generator], Leaf]


def log_uniform(low: float, high: float) -> Draw:
    """Uniform in the logarithm, to two digits."""
    return lambda random: float(f"{math.exp(random.uniform(math.log(low), math.log(high))):.1e}")


def one_of(*choices: Leaf) -> Draw:
    """Any of them alike."""
    return lambda random: choices[random.integers(len(choices))]


Space = Mapping[str, Draw]  # what is varied, all at once, by path
Train = Callable[[list[RunConfig]], list[Run]]


def draw_trials(space: Space, count: int, seed: int) -> list[dict[str, Leaf]]:
    """The defaults (nothing changed), then ``count`` random points of the search space."""
    random = np.random.default_rng(seed)
    return [{}] + [{name: draw(random) for name, draw in space.items()} for _ in range(count)]


def with_settings(config: RunConfig, settings: Mapping[str, Leaf]) -> RunConfig:
    """The configuration with some settings changed; those that its agent lacks are passed over."""
    there = flatten(config)
    return replace_at(config, {path: leaf for path, leaf in settings.items() if path in there})


@dataclass(frozen=True)
class Trial:
    """One point of the search: number, what it changes, and its mean area over its runs."""

    number: int
    settings: Mapping[str, Leaf]
    score: float


def first_round(
    base: RunConfig, space: Space, train: Train, trials: int, seed: int = 0
) -> list[Trial]:
    """The defaults and ``trials`` random points, the same for each preset, with one seed a level.

    Args:
        base: the preset, its levels, frames and folder; runs lie at ``OUT/AGENT/TRIAL/LEVEL-SEED``.
        space: what is varied.
        train: makes the runs of some configurations, as far as they are not there yet.
        trials: how many points beside the defaults.
        seed: of the random points.
    """
    points = list(enumerate(draw_trials(space, trials, seed)))
    return _scored(base, points, [1], train)


def final_round(
    base: RunConfig,
    train: Train,
    first: Sequence[Trial],
    finalists: int,
    seeds: int,
) -> list[Trial]:
    """The defaults and the ``finalists`` best others with more seeds, best first."""
    defaults, *others = first
    best = sorted(others, key=lambda trial: -trial.score)[:finalists]
    points = [(trial.number, trial.settings) for trial in (defaults, *best)]
    found = _scored(base, points, range(1, seeds + 1), train)
    return sorted(found, key=lambda trial: -trial.score)


def for_all(rounds: Sequence[Sequence[Trial]]) -> list[Trial]:
    """The same points' mean scores over several presets' rounds, best first."""
    means = [
        replace(trials[0], score=float(np.mean([trial.score for trial in trials])))
        for trials in zip(*rounds, strict=True)
    ]
    return sorted(means, key=lambda trial: -trial.score)


def _scored(
    base: RunConfig,
    points: Sequence[tuple[int, Mapping[str, Leaf]]],
    seeds: Iterable[int],
    train: Train,
) -> list[Trial]:
    """Each point's mean area over all levels and seeds."""
    configs = [
        replace_at(
            with_settings(base, settings),
            {
                "env": (level,),
                "seed": seed,
                "out": f"{base.run.out}/{base.preset}/{number:02}/{level}-{seed}",
            },
        )
        for number, settings in points
        for level in base.environment.env
        for seed in seeds
    ]
    areas = np.array([read_curve(run).area() for run in train(configs)])
    means = areas.reshape(len(points), -1).mean(1).tolist()
    return [Trial(*point, mean) for point, mean in zip(points, means, strict=True)]
