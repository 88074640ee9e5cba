"""Levels learnt after easier ones, and from scratch: what that takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..runs import Run
from ..tables import markdown_table
from .compare import kind_of, start_of
from .curves import TARGET, Curve, read_curve
from .transfer import NO_FIGURE, Figure, over

SCRATCH = "from scratch"
OF_IT, WHOLE = "frames on it", "including earlier levels"
NEVER = 1e15  # frames, more than any run has: runs that never reach the target tie

Kinds = Mapping[str, Sequence[Curve]]  # a curve per run, by agent
Starts = Mapping[str, Kinds]  # by what the runs started from
Onward = Mapping[str, Starts]  # by the level learnt


def read_onward(runs: Iterable[Run], target: float = TARGET) -> Onward:
    """The curves of runs on the levels that some of them learnt after another one."""
    runs = list(runs)
    levels = {run.config.environment.label for run in runs if run.config.run.origin}
    found: dict[str, dict[str, dict[str, list[Curve]]]] = {}
    for run in runs:
        level, start = run.config.environment.label, start_of(run) or SCRATCH
        if level in levels:
            kinds = found.setdefault(level, {}).setdefault(start, {})
            kinds.setdefault(kind_of(run), []).append(read_curve(run, target))
    return found


def onward_markdown(onward: Onward, target: float = TARGET) -> str:
    """For each level, the frames it took, and which agents and starts take fewer."""
    parts = []
    for level, starts in onward.items():
        rows = [
            _cells(kind, start, curves)
            for start, kinds in starts.items()
            for kind, curves in kinds.items()
        ]
        parts += [f"{level}, until {target:.0%} of the last 200 episodes succeed:\n"]
        parts += [
            markdown_table(("agent", "start", "reached", f"{OF_IT} (quartiles)", WHOLE), rows),
            "",
        ]
        if better := _agents_apart(starts):
            columns = [start if of_it else WHOLE for start, of_it in _counts(starts)]
            parts += [
                f"Probability that a run of the first agent takes fewer {OF_IT} than the second:\n"
            ]
            parts += [markdown_table(("", *columns), better), ""]
        if better := _starts_apart(starts):
            parts += [
                "The same for runs that first learnt another level, against runs from scratch:\n"
            ]
            parts += [markdown_table(("", OF_IT, WHOLE), better), ""]
    return "\n".join(parts)


def _cells(kind: str, start: str, curves: Sequence[Curve]) -> tuple[str, ...]:
    """A row on runs of one kind and start."""
    own, whole = ([_frames(curve, of_it) for curve in curves] for of_it in (True, False))
    there = sum(map(math.isfinite, own))
    low, high = (_count(x) for x in np.quantile(own, (0.25, 0.75), method="closest_observation"))
    middle = f"{_count(np.median(own))} ({low} to {high})" if there else _count(math.inf)
    return kind, start, f"{there} of {len(own)}", middle, _count(np.median(whole))


def _count(frames: float) -> str:
    return "never" if math.isinf(frames) else f"{frames:,.0f}"


def _agents_apart(starts: Starts) -> list[list[str]]:
    """A row for each pair of agents, a column for each count."""
    kinds = dict.fromkeys(kind for agents in starts.values() for kind in agents)
    return [
        [
            f"{one} over {other}",
            *(
                _sooner(starts[start][one], starts[start][other], of_it).text(1, 2)
                if {one, other} <= {*starts[start]}
                else NO_FIGURE
                for start, of_it in _counts(starts)
            ),
        ]
        for other, one in itertools.combinations(kinds, 2)
    ]


def _counts(starts: Starts) -> list[tuple[str, bool]]:
    """For each start, the frames on the level and, unless from scratch, those in total."""
    return [(start, own) for start in starts for own in (True, False) if own or start != SCRATCH]


def _starts_apart(starts: Starts) -> list[list[str]]:
    """A row for each agent and start, except from scratch."""
    scratch = starts.get(SCRATCH, {})
    return [
        [
            f"{kind}, {start}",
            *(_sooner(curves, scratch[kind], of_it).text(1, 2) for of_it in (True, False)),
        ]
        for start, kinds in starts.items()
        for kind, curves in kinds.items()
        if start != SCRATCH and kind in scratch
    ]


def _sooner(ours: Sequence[Curve], theirs: Sequence[Curve], of_it: bool = True) -> Figure:
    """The probability that a run of ours takes fewer frames, on the level or in total."""
    both = ours, theirs
    return over(*([-min(_frames(curve, of_it), NEVER) for curve in curves] for curves in both))


def _frames(curve: Curve, of_it: bool) -> float:
    """Frames that a run took, on the level or in total; infinity if it missed the target."""
    return (curve.on_its_own() if of_it else curve).frames_to_target
