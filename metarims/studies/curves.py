"""How runs went, and their means over seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..runs import Run
from ..tally import has_reached

TARGET = 0.95


@dataclass(frozen=True)
class Curve:
    """How one run went.

    Attributes:
        frames, success: a point an iteration, the success rate over the last 200 episodes, or as
            many as there are; 0 before one counts. Frames are counted from the beginning of the run
            that it began from.
        frames_to_target, episodes_to_target: when that first reached the target, over 200 episodes,
            or infinity.
        dead, information: of the modules in the last iteration, see `module_figures`; NaN without.
    """

    frames: np.ndarray
    success: np.ndarray
    frames_to_target: float
    episodes_to_target: float
    dead: float = math.nan
    information: float = math.nan
    learnt: bool = False  # whether it ended because it had learnt what it was to be trained until

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
    success = np.array([row.get("rollout/success_rate", 0.0) for row in rows])
    dead, information = (rows[-1].get(f"modules/{x}", math.nan) for x in ("dead", "information"))
    seen = np.array([begun + row["frames"] for row in rows])
    until = run.config.run.until
    learnt = until > 0 and has_reached(rows[-1], until)
    return Curve(seen, success, frames, episodes, dead, information, learnt)
