"""Runs side by side: what they reached, with intervals."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import OF_NO_MATTER, find_preset
from ..errors import UsageError, note
from ..runs import Run, load_run
from ..settings import differences
from ..statistics import interquartile_interval, interquartile_mean
from ..tables import markdown_table, plain_table
from ..tally import has_learnt
from .curves import TARGET, Curve, end_of_all, read_curve

PARTS = re.compile(r" (?=from |[\w.]+=)")  # between an agent's preset, its settings and its start
PASSED_OVER = (*OF_NO_MATTER, "env", "from", "until", "seed")


@dataclass(frozen=True)
class Comparison:
    """Runs that differ only in their seed: interquartile means with 95 % intervals (of the success
    rate over the first `frames`, which all runs of the level have, and at the end; NaN where no
    episode of any of them counts by then), medians of the frames and episodes to the target, and
    means of the modules' figures.
    """

    env: str
    agent: str
    settings: str
    seeds: int
    frames: float
    area: float
    area_ci95: tuple[float, float]
    final: float
    final_ci95: tuple[float, float]
    frames_to_target: float
    episodes_to_target: float
    dead: float
    information: float


def compare(runs: Iterable[Run], target: float = TARGET) -> list[Comparison]:
    """One row per level, agent and settings, best area first within a level.

    Args:
        runs: the runs to compare.
        target: success rate to report the frames to.
    """
    groups = {key: [read_curve(run, target) for run in alike] for key, alike in group(runs).items()}
    known: dict[str, list[Curve]] = {}  # by level, whose runs are compared over as many frames
    for (level, *_), curves in groups.items():
        known.setdefault(level, []).extend(curves)
    ends = {
        level: end_of_all([curve.end for curve in curves], [curve.learnt for curve in curves])
        for level, curves in known.items()
    }
    rows = [_summarise(key, curves, ends[key[0]]) for key, curves in groups.items()]
    return sorted(rows, key=lambda row: (row.env, math.isnan(row.area), -row.area))


def group(runs: Iterable[Run]) -> dict[tuple[str, str, str], list[Run]]:
    """Runs that differ only in their seed, by level, agent and settings."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        settings = f"{changed_settings(run)} {start_of(run)}".strip()
        key = (run.config.environment.label, run.config.preset, settings)
        groups.setdefault(key, []).append(run)
    return groups


def changed_settings(run: Run) -> str:
    """Settings that a run changed from its preset, except levels, seed, length and output."""
    changed = differences(run.config, find_preset(run.config.preset))
    return " ".join(f"{path}={leaf}" for path, leaf in changed.items() if path not in PASSED_OVER)


def start_of(run: Run) -> str:
    """The levels of the run that it started from, with that one's changed settings if they are
    others, and so on to the first; or "". A run that is gone is told by its folder.
    """
    parts, seen = [], {run.path.resolve()}
    while run.config.run.origin:
        before = _run_at(run.config.run.origin)
        if before is None or before.path.resolve() in seen:  # gone, or trained anew from this one
            parts.append(f"from another run ({_family(run)})")
            break
        theirs = changed_settings(before)
        own = f" ({theirs or 'defaults'})" if theirs != changed_settings(run) else ""
        parts.append(f"from {before.config.environment.label}{own}")
        seen.add(before.path.resolve())
        run = before
    return " ".join(parts)


def _family(run: Run) -> Path:
    """The folder of the run that it started from, or of all seeds' if that had this one's."""
    origin = Path(run.config.run.origin)
    return origin.parent if origin.name == f"seed-{run.config.run.seed}" else origin


def kind_of(run: Run) -> str:
    """A run's preset, with the settings it changed."""
    return f"{run.config.preset} {changed_settings(run)}".strip()


def agent_of(run: Run) -> str:
    """A run's preset, with the settings it changed and what it started from."""
    return f"{kind_of(run)} {start_of(run)}".strip()


def parts_of(label: str) -> list[str]:
    """An agent's preset, its settings and its start; what is in parentheses is not taken apart."""
    parts: list[str] = []
    for part in PARTS.split(label):
        if parts and parts[-1].count("(") > parts[-1].count(")"):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return parts


def note_differences(runs: Iterable[Run]) -> None:
    """Print what `unlike` says of the runs."""
    for text in unlike(runs):
        note(text)


def unlike(runs: Iterable[Run]) -> Iterator[str]:
    """Where runs that are grouped differ in more than their seed, or share a seed, and where agents
    were trained on a level for different lengths, a sentence each.
    """
    lengths: dict[str, list[set[float]]] = {}
    for (level, *_), alike in group(runs).items():
        lengths.setdefault(level, []).append(_lengths(alike))
        what = f"{agent_of(alike[0])} on {level}"
        seeds = Counter(run.config.run.seed for run in alike)
        again = [str(seed) for seed, count in seeds.items() if count > 1]
        if again:
            yield f"{what}: more than one run with seed {', '.join(again)}"
        ends = sorted(set(map(_end, alike)))
        if len(ends) > 1:
            yield f"{what}: runs {' and '.join(ends)} are grouped together"
    for level, each in lengths.items():
        known = [own for own in each if own]
        if any(own != known[0] for own in known):
            frames = set.union(*known)
            span = f"from {min(frames):,.0f} to {max(frames):,.0f}"
            yield f"{level}: agents were trained for different lengths, {span} frames"


def _lengths(runs: Iterable[Run]) -> set[float]:
    """The frames of runs, but of those that ended because they had learnt."""
    last = [(run.config.run.until, run.last_metrics()) for run in runs]
    return {row.get("frames", 0) for until, row in last if not has_learnt(row, until)}


def _end(run: Run) -> str:
    """When a run ends."""
    until, frames = run.config.run.until, run.last_metrics().get("frames", 0)
    return f"until {until:.0%}" if until else f"of {frames:,.0f} frames"


def _run_at(path: str) -> Run | None:
    """The run there, if it still exists."""
    try:
        return load_run(path)
    except UsageError:
        return None


def _summarise(key: tuple[str, str, str], curves: list[Curve], end: float) -> Comparison:
    return Comparison(
        *key,
        len(curves),
        end,
        *_middle([c.area(end) for c in curves], any(c.is_measured(end) for c in curves)),
        *_middle([c.final for c in curves], any(c.is_measured() for c in curves)),
        float(np.median([c.frames_to_target for c in curves])),
        float(np.median([c.episodes_to_target for c in curves])),
        float(np.mean([c.dead for c in curves])),
        float(np.mean([c.information for c in curves])),
    )


def _middle(rates: list[float], known: bool) -> tuple[float, tuple[float, float]]:
    """The interquartile mean of success rates and its interval; NaN if none is known."""
    if not known:
        return math.nan, (math.nan, math.nan)
    return interquartile_mean(rates), interquartile_interval(rates)


def comparison_table(rows: Sequence[Comparison], target: float = TARGET) -> str:
    """The rows as text, below what the mean success is taken over."""
    titles = ["level", "agent", "seeds", "mean success", "95 %", "at the end", "95 %"]
    titles += [*_last_titles(target), "settings"]
    lines = [
        [
            *(row.env, row.agent, str(row.seeds)),
            *(_figure(row.area, 3), _interval(row, row.area_ci95)),
            *(_figure(row.final, 3), _interval(row, row.final_ci95)),
            *(*_last_cells(row), row.settings),
        ]
        for row in rows
    ]
    return f"{_over(rows)}\n{plain_table(titles, lines, words=('level', 'agent', 'settings'))}"


def comparison_markdown(rows: Sequence[Comparison], target: float = TARGET) -> str:
    """The rows as a table in Markdown, below what the mean success is taken over."""
    titles = ["level", "agent", "seeds", "mean success", "at the end", *_last_titles(target)]
    lines = [
        [
            *(row.env, f"{row.agent} {row.settings}".strip(), str(row.seeds)),
            f"{_figure(row.area, 3)} ({_interval(row, row.area_ci95)})",
            f"{_figure(row.final, 3)} ({_interval(row, row.final_ci95)})",
            *_last_cells(row),
        ]
        for row in rows
    ]
    return f"{_over(rows)}\n\n{markdown_table(titles, lines)}\n"


def _over(rows: Iterable[Comparison]) -> str:
    """The frames that the mean success is taken over, by level."""
    first = {row.env: f"the first {row.frames:,.0f}" for row in rows}
    said = [*dict.fromkeys(first.values())]
    if len(said) > 1:
        said = [f"{count} of {level}" for level, count in first.items()]
    return f"Mean success is over the frames that all runs of a level have: {', '.join(said)}."


def _last_titles(target: float) -> list[str]:
    return [f"frames to {target:.0%}", "episodes", "dead", "I(A;X)"]


def _last_cells(row: Comparison) -> list[str]:
    counts = _count(row.frames_to_target), _count(row.episodes_to_target)
    return [*counts, _figure(row.dead, 1), _figure(row.information, 3)]


def _interval(row: Comparison, ends: tuple[float, float]) -> str:
    """An interval for a table; a single run has none."""
    known = row.seeds > 1 and not math.isnan(ends[0])
    return f"{ends[0]:.3f} – {ends[1]:.3f}" if known else "–"


def _figure(number: float, digits: int) -> str:
    return "–" if math.isnan(number) else f"{number:.{digits}f}"


def _count(number: float) -> str:
    return "–" if math.isinf(number) else f"{number:,.0f}"
