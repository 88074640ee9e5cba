"""Runs on levels that they have not seen: one matrix, with intervals over seeds."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from ..checkpoint import fingerprint
from ..runs import CHECKPOINTS, Run
from ..statistics import (
    Profile,
    Scores,
    improvement,
    improvement_interval,
    interquartile_interval,
    interquartile_mean,
    performance_profile,
)
from ..tables import csv_table, markdown_table
from .compare import kind_of, parts_of, start_of

ALL = "all"  # levels together
THRESHOLDS = np.linspace(0, 1, 51)  # of a performance profile
# Tables of scores: title, factor and digits.
TABLES = {
    "success_rate": ("Success in %", 100, 1),
    "mean_return": ("Mean return", 1, 2),
    "mean_length": ("Mean steps per episode", 1, 1),
}


@dataclass(frozen=True)
class Score:
    """One run's result on one level, with some of its modules switched off or none: the mean
    success rate, return and length of its episodes. `run` is its folder, `source` the levels that
    it learnt, `start` what the run that it started from had learnt.
    """

    run: str
    source: str
    agent: str
    start: str
    seed: int
    level: str
    knocked_out: str
    episodes: int
    success_rate: float
    mean_return: float
    mean_length: float

    @property
    def column(self) -> str:
        """Its column in a matrix."""
        return ", ".join(filter(None, (self.level, self.knocked_out)))

    @property
    def learnt(self) -> str:
        """The levels that it learnt, in their order."""
        starts = parts_of(self.start) if self.start else []
        return THEN.join([*(part.removeprefix("from ") for part in reversed(starts)), self.source])

    @property
    def label(self) -> str:
        """Its agent, and what it started from."""
        return f"{self.agent} {self.start}".strip()


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % interval, NaN for a single run."""

    value: float
    low: float
    high: float

    def text(self, scale: float, digits: int) -> str:
        """As a table cell."""
        value, low, high = (scale * x for x in (self.value, self.low, self.high))
        own = f"{value:.{digits}f}"
        return own if math.isnan(low) else f"{own} ({low:.{digits}f} – {high:.{digits}f})"


THEN = ", then "  # between levels that a run learnt one after the other
NO_INTERVAL = math.nan, math.nan
NO_FIGURE = "–"  # where a row has none, such as an agent without modules to switch off


def middle(scores: Scores) -> Figure:
    """The interquartile mean of runs with its 95 % interval, on one or several levels."""
    interval = NO_INTERVAL if len(scores) == 1 else interquartile_interval(scores)
    return Figure(interquartile_mean(scores), *interval)


Row = tuple[str, str]  # the levels learnt, and the agent
Matrix = Mapping[Row, Mapping[str, Figure]]


def evaluation_file(folder: Path, run: Run, flags: Sequence[str]) -> Path:
    """The file for a run's evaluation, by the flags (levels, episodes) and newest checkpoint."""
    path = run.path.resolve()
    asked = json.dumps([str(path), fingerprint(path / CHECKPOINTS), list(flags)]).encode()
    return folder / f"{'-'.join(path.parts[-3:])}-{hashlib.sha256(asked).hexdigest()[:8]}.json"


def read_scores(file: Path, run: Run) -> list[Score]:
    """A run's scores, one per level."""
    return [
        Score(
            str(run.path),
            run.config.environment.label,
            kind_of(run),
            start_of(run),
            run.config.run.seed,
            report["env"],
            report.get("knocked_out", ""),
            report["episodes"],
            report["success_rate"],
            report["mean_return"],
            report["mean_length"],
        )
        for report in json.loads(file.read_text())
    ]


def matrix(scores: Iterable[Score], what: str) -> Matrix:
    """Interquartile means over seeds, for each level and for all of them together, the latter for
    intact agents.

    Args:
        scores: of runs on levels.
        what: "success_rate", "mean_return" or "mean_length".
    """
    scores = list(scores)
    whole = _samples(_of_whole(scores), what)
    return {
        row: {level: middle(sample) for level, sample in cells.items()}
        | {ALL: middle(_by_run(whole[row]))}
        for row, cells in _samples(scores, what).items()
    }


def _of_whole(scores: Iterable[Score]) -> list[Score]:
    """The scores of intact agents, with no module switched off."""
    return [score for score in scores if not score.knocked_out]


def _samples(scores: Iterable[Score], what: str) -> dict[Row, dict[str, list[float]]]:
    """A number per run, by row and column."""
    table: dict[Row, dict[str, list[float]]] = {}
    for score in scores:
        cells = table.setdefault((score.learnt, score.agent), {})
        cells.setdefault(score.column, []).append(getattr(score, what))
    return table


def _by_run(columns: Mapping[str, Sequence[float]]) -> list[tuple[float, ...]]:
    """A row per run, of columns that have the same runs in the same order."""
    return list(zip(*columns.values(), strict=True))


def improvements(scores: Sequence[Score]) -> dict[tuple[str, str, str], dict[str, Figure]]:
    """The probability that a run succeeds more often than another one trained on the same levels,
    of another agent with the same start or of the same agent with another start: for each level, by
    the levels learnt and both agents, or the last one alone and the agents with their starts.
    """
    samples: dict[tuple[str, str], dict[tuple[str, str], list[Score]]] = {}
    for score in scores:
        kinds = samples.setdefault((score.source, score.column), {})
        kinds.setdefault((score.agent, score.start), []).append(score)
    found: dict[tuple[str, str, str], dict[str, Figure]] = {}
    for (source, level), kinds in samples.items():
        for (other, its), (one, own) in itertools.combinations(kinds.items(), 2):
            if one[1] == other[1]:
                pair = own[0].learnt, one[0], other[0]
            elif one[0] == other[0]:
                pair = source, own[0].label, its[0].label
            else:
                continue
            figure = over(*([score.success_rate for score in runs] for runs in (own, its)))
            found.setdefault(pair, {})[level] = figure
    return found


def over(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """The probability that a run of ours is better than one of theirs."""
    alone = len(ours) == len(theirs) == 1
    interval = NO_INTERVAL if alone else improvement_interval(ours, theirs)
    return Figure(improvement(ours, theirs), *interval)


def profiles(scores: Iterable[Score]) -> dict[str, dict[str, Profile]]:
    """The share of runs and levels with success above each of `THRESHOLDS` (Agarwal et al. 2021),
    for each agent, by the levels learnt.
    """
    found: dict[str, dict[str, Profile]] = {}
    for (learnt, agent), levels in _samples(_of_whole(scores), "success_rate").items():
        profile = performance_profile(_by_run(levels), THRESHOLDS)
        found.setdefault(learnt, {})[agent] = profile
    return found


def as_csv(scores: Iterable[Score]) -> str:
    """A row per run and level."""
    return csv_table([field.name for field in fields(Score)], map(astuple, scores))


def as_markdown(scores: Sequence[Score]) -> str:
    """Success rates, returns and lengths, and the probabilities that one agent is better."""
    episodes = max(score.episodes for score in scores)
    seeds: dict[Row, set[int]] = {}
    for score in scores:
        seeds.setdefault((score.learnt, score.agent), set()).add(score.seed)
    counts = ", ".join(str(n) for n in sorted({len(each) for each in seeds.values()}))
    parts = [
        f"Interquartile means over {counts} {'seed' if counts == '1' else 'seeds'}, with 95 % "
        f"bootstrap intervals; {episodes:,} episodes per run and level."
    ]
    for what, (title, scale, digits) in TABLES.items():
        parts += [f"\n{title}:\n", matrix_table(matrix(scores, what), scale, digits)]
    better = {
        (learnt, f"{one} over {other}"): cells
        for (learnt, one, other), cells in improvements(scores).items()
    }
    if better:
        title = "\nProbability that a run of the first agent succeeds more often than the second:\n"
        parts += [title, matrix_table(better, 1, 2)]
    return "\n".join(parts) + "\n"


def columns(rows: Matrix) -> list[str]:
    """The columns of all rows, that of all levels together last."""
    named = dict.fromkeys(column for cells in rows.values() for column in cells)
    return sorted(named, key=lambda column: column == ALL)


def _text(figure: Figure | None, scale: float, digits: int) -> str:
    return figure.text(scale, digits) if figure else NO_FIGURE


def matrix_table(rows: Matrix, scale: float, digits: int) -> str:
    """A line per row, a column per level."""
    levels = columns(rows)
    lines = [
        [learnt, agent, *(_text(cells.get(level), scale, digits) for level in levels)]
        for (learnt, agent), cells in rows.items()
    ]
    return markdown_table(["trained on", "agent", *levels], lines)
