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
OF_IT, WHOLE = "frames of it", "with those before"
NEVER = 1e15  # frames, more than any run has: runs that do not get there are alike

Kinds = Mapping[str, Sequence[Curve]]  # a curve of each run, by agent
Starts = Mapping[str, Kinds]  # by what they began from
Onward = Mapping[str, Starts]  # by the level learnt


def read_onward(runs: Iterable[Run], target: float = TARGET) -> Onward:
    """How runs went on the levels that some of them learnt after another one."""
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
    """Of each level how many frames it took, and who takes fewer, agents and starts."""
    parts = []
    for level, starts in onward.items():
        rows = [
            _cells(kind, start, curves)
            for start, kinds in starts.items()
            for kind, curves in kinds.items()
        ]
        parts += [f"{level}, to {target:.0%} of the last 200 episodes:\n"]
        parts += [markdown_table(("agent", "", "there", f"{OF_IT}, quartiles", WHOLE), rows), ""]
        if better := _agents_apart(starts):
            columns = [start if of_it else WHOLE for start, of_it in _counts(starts)]
            parts += [f"The probability that a run of the one takes fewer {OF_IT}:\n"]
            parts += [markdown_table(("", *columns), better), ""]
        if better := _starts_apart(starts):
            parts += ["The same of one that learnt another level before, over one from scratch:\n"]
            parts += [markdown_table(("", OF_IT, WHOLE), better), ""]
    return "\n".join(parts)


def _cells(kind: str, start: str, curves: Sequence[Curve]) -> tuple[str, ...]:
    """A line on runs of one kind and start."""
    own, whole = ([_frames(curve, of_it) for curve in curves] for of_it in (True, False))
    there = sum(map(math.isfinite, own))
    low, high = (_count(x) for x in np.quantile(own, (0.25, 0.75), method="closest_observation"))
    middle = f"{_count(np.median(own))} ({low} to {high})" if there else _count(math.inf)
    return kind, start, f"{there} of {len(own)}", middle, _count(np.median(whole))


def _count(frames: float) -> str:
    return "never" if math.isinf(frames) else f"{frames:,.0f}"


def _agents_apart(starts: Starts) -> list[list[str]]:
    """A line for each two agents, a column for each count."""
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
    """Of each start the frames of the level, and, but from scratch, those in all."""
    return [(start, own) for start in starts for own in (True, False) if own or start != SCRATCH]


def _starts_apart(starts: Starts) -> list[list[str]]:
    """A line for each agent and start but that from scratch."""
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
    """How probably a run of ours takes fewer frames, of the level or in all."""
    both = ours, theirs
    return over(*([-min(_frames(curve, of_it), NEVER) for curve in curves] for curves in both))


def _frames(curve: Curve, of_it: bool) -> float:
    """How many a run took, of the level or in all; infinity where it did not get there."""
    return (curve.on_its_own() if of_it else curve).frames_to_target
