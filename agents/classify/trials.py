"""A study's trainings: planning them, running the missing ones, and tables of the results."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from metarims.errors import UsageError
from metarims.files import write_json
from metarims.settings import as_json, differences, flatten, replace_at
from metarims.statistics import bootstrap_interval
from metarims.tables import csv_table, markdown_table

from .config import ClassifyConfig
from .data import load
from .outcomes import Outcome
from .studies import Study
from .training import train_classifier

Epoch = Mapping[str, float]  # figures after it, by the names of `COLUMNS`

COLUMNS = {
    "accuracy": "test accuracy, %",
    "selection_entropy": "selection entropy",
    "blocks": "blocks in use",
    "H_A": "H(A)",
    "information": "I(A;X)",
    "paths": "paths",
}
COUNTED = ("blocks", "paths")


@dataclass(frozen=True)
class Trial:
    """One training of one arm of an axis."""

    axis: str
    arm: str
    seed: int
    config: ClassifyConfig


@dataclass(frozen=True)
class Result:
    """How a trial went, epoch by epoch."""

    trial: Trial
    epochs: Sequence[Epoch]

    def curve(self, name: str) -> list[float]:
        """A figure after each epoch; NaN if it is missing, as nothing was routed."""
        return [epoch.get(name, math.nan) for epoch in self.epochs]


def refuse_changes(config: ClassifyConfig, settled: Collection[str]) -> None:
    """Raises `UsageError` if `config` changes settings, by path, that a study fixes."""
    if clash := [path for path in differences(config, ClassifyConfig()) if path in settled]:
        raise UsageError(f"this study sets {', '.join(clash)} itself; leave it out")


def plan(study: Study, config: ClassifyConfig) -> list[Trial]:
    """All trainings of a study, seed by seed.

    Args:
        study: the one to plan.
        config: for the settings that the study does not fix.

    Raises:
        UsageError: `config` changes what the study fixes, or what none of its trainings has.
    """
    refuse_changes(config, study.settled)
    trials = [
        Trial(axis.about, arm, seed, replace_at(config, {**study.settings, **settings, "seeds": 1}))
        for seed in range(1, config.seeds + 1)
        for axis in study.axes
        for arm, settings in axis.arms.items()
    ]
    kept = {leaf for trial in trials for leaf in flatten(trial.config).items()}
    lost = dict(flatten(config).items() - kept)
    refuse_changes(config, lost.keys() - {"seeds"})
    return trials


def trial_file(trial: Trial, folder: Path) -> Path:
    """The file of a training, named by its settings and seed."""
    asked = json.dumps([as_json(trial.config), trial.seed], sort_keys=True).encode()
    return folder / f"{hashlib.sha256(asked).hexdigest()[:16]}.json"


def train_missing(trials: Sequence[Trial], folder: Path) -> None:
    """Train what is not in the folder yet; print a line after each."""
    wanted: dict[Path, Trial] = {}
    for trial in trials:  # those in several axes are trained once
        wanted.setdefault(trial_file(trial, folder), trial)
    missing = {file: trial for file, trial in wanted.items() if not file.exists()}
    cached, begun = lru_cache(maxsize=1)(load), time.monotonic()
    for number, (file, trial) in enumerate(missing.items(), 1):
        data = cached(trial.config.data, trial.config.folder, trial.seed)
        outcome = train_classifier(trial.config.methods[0], trial.config, data, trial.seed)
        epochs = _epochs(outcome)
        settings = differences(trial.config, ClassifyConfig())
        write_json(file, {"settings": settings, "seed": trial.seed, "epochs": epochs})
        left = (time.monotonic() - begun) / number * (len(missing) - number) / 60
        print(
            f"{len(wanted) - len(missing) + number}/{len(wanted)}  {trial.axis}: {trial.arm}, "
            f"seed {trial.seed}  {_brief(epochs[-1])}  {left:.1f} min left",
            flush=True,
        )


def _epochs(outcome: Outcome) -> list[Epoch]:
    return [
        {"accuracy": share, **{name: x for name, x in figures.items() if name in COLUMNS}}
        for share, figures in zip(outcome.accuracy, outcome.history, strict=True)
    ]


def _brief(epoch: Epoch) -> str:
    entropy = epoch.get("selection_entropy")
    routed = "" if entropy is None else f"  entropy {abs(entropy):.2f}"
    return f"accuracy {epoch['accuracy']:.1%}{routed}"


def read_results(trials: Iterable[Trial], folder: Path) -> list[Result]:
    """The trials' results.

    Raises:
        UsageError: a file is missing or damaged.
    """
    return [Result(trial, _read_epochs(trial_file(trial, folder))) for trial in trials]


def _read_epochs(file: Path) -> list[Epoch]:
    try:
        epochs = json.loads(file.read_text())["epochs"]
        return [
            {name: math.nan if x is None else float(x) for name, x in epoch.items()}
            for epoch in epochs
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{file} is damaged; delete it to train again") from None


def as_csv(results: Iterable[Result]) -> str:
    """A line for each trial: its figures after the last epoch."""
    rows = [
        [trial.axis, trial.arm, trial.seed, *(result.epochs[-1].get(name, "") for name in COLUMNS)]
        for result in results
        for trial in [result.trial]
    ]
    return csv_table(["axis", "arm", "seed", *COLUMNS], rows)


def as_markdown(study: Study, results: Sequence[Result]) -> str:
    """A table for each axis: means over seeds after the last epoch with bootstrap intervals."""
    seeds = len({result.trial.seed for result in results})
    parts = [f"# {study.about}\n", f"Means over {seeds} seeds with 95 % bootstrap intervals.\n"]
    for axis in study.axes:
        rows = [
            [arm, *(_cell(name, [result.curve(name)[-1] for result in mine]) for name in COLUMNS)]
            for arm, mine in by_arm(results, axis.about).items()
        ]
        table = markdown_table([axis.about, *COLUMNS.values()], rows)
        parts += [table, f"\nThe paper: {axis.paper}.\n"]
    return "\n".join(parts)


def by_arm(results: Iterable[Result], axis: str) -> dict[str, list[Result]]:
    """The results of an axis, seeds together."""
    arms: dict[str, list[Result]] = {}
    for result in results:
        if result.trial.axis == axis:
            arms.setdefault(result.trial.arm, []).append(result)
    return arms


def mean_with_interval(sample: Sequence[float]) -> tuple[float, float, float]:
    """The mean and the ends of its 95 % bootstrap interval."""
    return (statistics.fmean(sample), *bootstrap_interval(sample))


def _cell(name: str, sample: Sequence[float]) -> str:
    if all(map(math.isnan, sample)):
        return "–"
    scale, digits = (100, 1) if name == "accuracy" else (1, 1 if name in COUNTED else 2)
    mean, low, high = (scale * abs(x) for x in mean_with_interval(sample))
    interval = f" ({low:.{digits}f} – {high:.{digits}f})" if len(sample) > 1 else ""
    return f"{mean:.{digits}f}{interval}"
