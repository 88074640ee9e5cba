"""Many runs side by side: what they reached, with intervals; and a search of equal effort."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.stats import trim_mean

from .config import Setting, TrainConfig
from .errors import UsageError
from .runs import Run

RESAMPLES = 2000
SETTLED = 200  # episodes before a run's rolling success rate counts as reached
TARGET = 0.95

Draw = Callable[[np.random.Generator], Setting]


def log_uniform(low: float, high: float) -> Draw:
    """Uniform in the logarithm, to two digits."""
    return lambda random: float(f"{math.exp(random.uniform(math.log(low), math.log(high))):.1e}")


def one_of(*choices: Setting) -> Draw:
    """Any of them alike."""
    return lambda random: choices[random.integers(len(choices))]


# What a search varies, all at once; what a preset does not use costs it nothing.
SPACE: dict[str, Draw] = {
    "learning_rate": log_uniform(3e-4, 3e-3),
    "slow_learning_rate": log_uniform(3e-4, 3e-3),
    "epochs": one_of(2, 3, 4),
    "slow_epochs": one_of(1, 2),
    "minibatches": one_of(4, 8),
    "attention": one_of("sparse", "null"),
    "entropy": log_uniform(3e-3, 3e-2),
    "gae_lambda": one_of(0.9, 0.95, 0.99),
}


def draw_trials(count: int, seed: int) -> list[dict[str, Setting]]:
    """The defaults (nothing changed), then ``count`` random points of the search space."""
    random = np.random.default_rng(seed)
    return [{}] + [{name: draw(random) for name, draw in SPACE.items()} for _ in range(count)]


def with_settings(config: TrainConfig, settings: Mapping[str, Setting]) -> TrainConfig:
    """The configuration with some settings changed, be they the run's or the preset's."""
    known = {field.name for field in fields(TrainConfig)}
    own: dict[str, Any] = {name: value for name, value in settings.items() if name in known}
    options = {name: value for name, value in settings.items() if name not in known}
    return replace(config, **own, options={**config.options, **options})


@dataclass(frozen=True)
class Curve:
    """How one run went.

    Attributes:
        frames, success: a point an iteration, the success rate over the last 200 episodes; 0 before
            there are so many, since the first episodes to end are the ones that went well.
        frames_to_target, episodes_to_target: when that first reached the target, or infinity.
        dead, information: of the modules in the last iteration, see `module_figures`; NaN without.
    """

    frames: np.ndarray
    success: np.ndarray
    frames_to_target: float
    episodes_to_target: float
    dead: float = math.nan
    information: float = math.nan

    @property
    def area(self) -> float:
        """The mean success rate over the frames from 0 to the last."""
        frames, success = np.append(0, self.frames), np.append(0, self.success)
        return float(np.trapezoid(success, frames) / frames[-1])

    @property
    def final(self) -> float:
        """The success rate over the last 200 episodes."""
        return float(self.success[-1])


def read_curve(run: Run, target: float = TARGET) -> Curve:
    """A run's success rate over its frames.

    Raises:
        UsageError: it has not finished an episode yet.
    """
    rows = [row for row in run.metrics() if "rollout/success_rate" in row]
    if not rows:
        raise UsageError(f"{run.path} has no finished episode to show")
    there = (
        (row["frames"], row["rollout/episodes"])
        for row in rows
        if row["rollout/episodes"] >= SETTLED and row["rollout/success_rate"] >= target
    )
    frames, episodes = next(there, (math.inf, math.inf))
    settled = np.array([row["rollout/episodes"] >= SETTLED for row in rows])
    success = np.array([row["rollout/success_rate"] for row in rows]) * settled
    modules = (rows[-1].get(f"modules/{name}", math.nan) for name in ("dead", "information"))
    return Curve(np.array([row["frames"] for row in rows]), success, frames, episodes, *modules)


def interquartile_mean(sample: Sequence[float]) -> float:
    """The mean of the middle half (Agarwal et al. 2021)."""
    return float(trim_mean(sample, 0.25))


def interquartile_interval(sample: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the interquartile mean."""
    values = np.asarray(sample, dtype=np.float64)
    rows = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(trim_mean(values[rows], 0.25, axis=1), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """Runs alike but for their seeds: interquartile means with 95 % intervals, medians of what it
    took to the target, and means of the modules' figures."""

    env: str
    agent: str
    settings: str
    seeds: int
    area: float
    area_ci95: tuple[float, float]
    final: float
    final_ci95: tuple[float, float]
    frames_to_target: float
    episodes_to_target: float
    dead: float
    information: float


def compare(
    runs: Iterable[Run],
    preset: Callable[[str], Mapping[str, Setting]],
    target: float = TARGET,
) -> list[Comparison]:
    """One row for each level, agent and settings, best area first within a level.

    Args:
        runs: what to compare.
        preset: an agent's settings by its name, where nothing is changed.
        target: the success rate whose frames are asked for.
    """
    groups: dict[tuple[str, str, str], list[Curve]] = {}
    for run in runs:
        config = run.config
        key = ("+".join(config.env), config.agent, changed_settings(config, preset(config.agent)))
        groups.setdefault(key, []).append(read_curve(run, target))
    rows = [_summarise(key, curves) for key, curves in groups.items()]
    return sorted(rows, key=lambda row: (row.env, -row.area))


def changed_settings(config: TrainConfig, preset: Mapping[str, Setting]) -> str:
    """What a run changed of its preset and of the defaults, seed and length aside."""
    plain = TrainConfig(env=config.env, agent=config.agent, out=config.out).as_json()
    passed_over = {"env", "agent", "out", "options", "seed", "frames", "device"}
    changed = {n: v for n, v in config.options.items() if n not in preset or preset[n] != v}
    for name, value in config.as_json().items():
        if name not in passed_over and value != plain[name]:
            changed[name] = value
    return " ".join(f"{name}={value}" for name, value in changed.items())


def _summarise(key: tuple[str, str, str], curves: list[Curve]) -> Comparison:
    areas, finals = [c.area for c in curves], [c.final for c in curves]
    return Comparison(
        *key,
        len(curves),
        interquartile_mean(areas),
        interquartile_interval(areas),
        interquartile_mean(finals),
        interquartile_interval(finals),
        float(np.median([c.frames_to_target for c in curves])),
        float(np.median([c.episodes_to_target for c in curves])),
        float(np.mean([c.dead for c in curves])),
        float(np.mean([c.information for c in curves])),
    )


def comparison_table(rows: Sequence[Comparison], target: float = TARGET) -> str:
    """The rows as text."""
    head = (
        f"{'level':30}{'agent':11}{'seeds':>5}  {'mean success':>12} {'95 %':14}"
        f"{'at the end':>10} {'95 %':14}{f'frames to {target:.0%}':>15}{'episodes':>10}"
        f"{'dead':>6}{'I(A;X)':>8}  settings"
    )
    return "\n".join([head, *(_table_line(row) for row in rows)])


def _table_line(row: Comparison) -> str:
    return (
        f"{row.env:30}{row.agent:11}{row.seeds:>5}  {row.area:>12.3f} {_interval(row.area_ci95):14}"
        f"{row.final:>10.3f} {_interval(row.final_ci95):14}{_count(row.frames_to_target):>15}"
        f"{_count(row.episodes_to_target):>10}{_figure(row.dead, 1):>6}"
        f"{_figure(row.information, 3):>8}  {row.settings}"
    ).rstrip()


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3f} – {ends[1]:.3f}"


def _figure(number: float, digits: int) -> str:
    return "–" if math.isnan(number) else f"{number:.{digits}f}"


def _count(number: float) -> str:
    return "–" if math.isinf(number) else f"{number:,.0f}"


@dataclass(frozen=True)
class Trial:
    """One point of the search: number, what it changes, and its mean area over its runs."""

    number: int
    settings: Mapping[str, Setting]
    score: float


def first_round(
    base: TrainConfig,
    train: Callable[[list[TrainConfig]], list[Run]],
    trials: int = 8,
    seed: int = 0,
) -> list[Trial]:
    """The defaults and ``trials`` random points, the same for each preset, with one seed a level.

    Args:
        base: the preset, its levels, frames and folder; runs lie at ``OUT/AGENT/TRIAL/LEVEL-SEED``.
        train: makes the runs of some configurations, as far as they are not there yet.
        trials: how many points beside the defaults.
        seed: of the random points.
    """
    points = list(enumerate(draw_trials(trials, seed)))
    return _scored(base, points, [1], train)


def final_round(
    base: TrainConfig,
    train: Callable[[list[TrainConfig]], list[Run]],
    first: Sequence[Trial],
    finalists: int = 2,
    seeds: int = 3,
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
    base: TrainConfig,
    points: Sequence[tuple[int, Mapping[str, Setting]]],
    seeds: Iterable[int],
    train: Callable[[list[TrainConfig]], list[Run]],
) -> list[Trial]:
    """Each point's mean area over all levels and seeds."""
    configs = [
        replace(
            with_settings(base, settings),
            env=(level,),
            seed=seed,
            out=f"{base.out}/{base.agent}/{number:02}/{level}-{seed}",
        )
        for number, settings in points
        for level in base.env
        for seed in seeds
    ]
    areas = np.array([read_curve(run).area for run in train(configs)])
    means = areas.reshape(len(points), -1).mean(1).tolist()
    return [Trial(*point, mean) for point, mean in zip(points, means, strict=True)]
