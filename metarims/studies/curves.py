"""How runs went, and their means over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UsageError
from ..runs import Row, Run
from ..tally import has_learnt, has_reached

TARGET = 0.95


@dataclass(frozen=True)
class Curve:
    """How one run went.

    Attributes:
        success: at the beginning 0, then after each iteration the rate over the last 200 episodes,
            or as many as there are; 0 before one counts.
        measured: the points from the first one on that an episode counts in.
        frames: at each of these points, counted from the beginning of the run that it began from.
        updates, seconds: as many, the gradient steps and the wall clock of this run alone; its
            first iteration, which compiles, is counted as long as the second.
        frames_to_target, episodes_to_target: when that first reached the target, over 200 episodes,
            or infinity.
        dead, information: of the modules in the last iteration, see `module_figures`; NaN without.
        planned: how many frames there would be, were it not for `learnt`.
        learnt: whether it ended because it had learnt what it was to be trained until.
    """

    success: np.ndarray
    measured: slice
    frames: np.ndarray
    updates: np.ndarray
    seconds: np.ndarray
    frames_to_target: float
    episodes_to_target: float
    dead: float
    information: float
    planned: float
    learnt: bool

    def on_its_own(self) -> Curve:
        """The same with frames counted from its own beginning."""
        begun = self.frames[0]
        return replace(
            self,
            frames=self.frames - begun,
            frames_to_target=self.frames_to_target - begun,
            planned=self.planned - begun,
        )

    @property
    def end(self) -> float:
        """How far it is known, in frames; one that ended because it had learnt goes on so."""
        return max(self.planned, self.frames[-1]) if self.learnt else float(self.frames[-1])

    def is_measured(self, end: float = math.inf) -> bool:
        """Whether an episode counts after `end` frames, by default at its own end."""
        return bool((self.frames[self.measured] <= end).any())

    def area(self, end: float | None = None) -> float:
        """The mean success rate over the frames from 0 to `end`, by default to its own."""
        end = end or self.end
        frames = np.array([0, *self.frames[self.frames < end], end])
        success = np.interp(frames, self.frames, self.success)  # 0 before it, the last one after
        return float(np.trapezoid(success, frames) / end)

    @property
    def final(self) -> float:
        """The success rate over the last 200 episodes."""
        return float(self.success[-1])


def end_of_all(ends: Sequence[float], learnt: Sequence[bool]) -> float:
    """How far all of some runs are known; those that ended because they had learnt go on so."""
    cut = [end for end, done in zip(ends, learnt, strict=True) if not done]
    return min(cut) if cut else max(ends)


def read_curve(run: Run, target: float = TARGET) -> Curve:
    """A run's success rate over its frames.

    Raises:
        UsageError: it has not finished an iteration yet.
    """
    rows = list(run.metrics())
    if not rows:
        raise UsageError(f"{run.path} has no finished iteration to show")
    begun = rows[0].get("time/frames_before", 0)
    there = (
        (begun + row["frames"], row["rollout/episodes"]) for row in rows if has_reached(row, target)
    )
    frames, episodes = next(there, (math.inf, math.inf))
    rates = [row.get("rollout/success_rate", math.nan) for row in rows]
    first = next((n for n, rate in enumerate(rates, 1) if not math.isnan(rate)), len(rows) + 1)
    return Curve(
        _points(rows, "rollout/success_rate"),
        slice(first, None),
        begun + _points(rows, "frames"),
        _points(rows, "train/n_updates"),
        _without_compiling(_points(rows, "time/time_elapsed")),
        frames,
        episodes,
        rows[-1].get("modules/dead", math.nan),
        rows[-1].get("modules/information", math.nan),
        begun + run.config.run.frames,
        has_learnt(rows[-1], run.config.run.until),
    )


def _without_compiling(seconds: np.ndarray) -> np.ndarray:
    """The clock after each iteration, had the first one taken as long as the second."""
    if len(seconds) < 3:
        return seconds
    first, second = np.diff(seconds[:3])
    return np.array([0.0, *(seconds[1:] - max(0.0, first - second))])


def _points(rows: Sequence[Row], name: str) -> np.ndarray:
    """A figure after each iteration, after a 0 before the first."""
    return np.array([0.0, *(row.get(name, 0.0) for row in rows)])
