"""The success of several runs together along their way: what figures draw, as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..statistics import interquartile_interval, interquartile_mean
from .curves import Curve, end_of_all
from .unseen import Course

POINTS = 80  # of learning curves


@dataclass(frozen=True)
class Band:
    """Success rates of runs that differ in their seed alone.

    Attributes:
        points: where, in frames or another cost, [n].
        middle: interquartile means, [n].
        low, high: their 95 % bootstrap intervals, [n]; NaN for a single run.
    """

    points: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def rows(self) -> Iterator[tuple[float, ...]]:
        """Point, middle, low and high, a row a point."""
        yield from np.stack([self.points, self.middle, self.low, self.high], 1).tolist()


def band_of_curves(curves: Sequence[Curve], cost: str) -> Band:
    """The band over what learning costs, "frames", "updates" or "seconds": from where episodes of
    all runs count to where all of them are known.
    """
    seen = [getattr(curve, cost) for curve in curves]
    end = end_of_all([x[-1] for x in seen], [curve.learnt for curve in curves])
    begin = max(
        min(x[curve.measured], default=math.inf) for x, curve in zip(seen, curves, strict=True)
    )
    points = np.unique(np.linspace(begin, end, POINTS)) if begin <= end else np.array([])
    return _band(points, seen, [curve.success for curve in curves])


def band_of_courses(courses: Sequence[Course]) -> Band:
    """The band over frames, wherever a run was evaluated and all are known."""
    seen = [course.frames for course in courses]
    begin = max(x[0] for x in seen)
    end = end_of_all([x[-1] for x in seen], [course.learnt for course in courses])
    points = np.unique(np.concatenate(seen))
    points = points[(begin <= points) & (points <= end)]
    return _band(points, seen, [course.success for course in courses])


def _band(points: np.ndarray, seen: Sequence[np.ndarray], success: Sequence[np.ndarray]) -> Band:
    """The band at some points of curves: success over what was seen."""
    table = np.array(
        [[np.interp(point, x, y) for x, y in zip(seen, success, strict=True)] for point in points]
    )
    middle = np.array([interquartile_mean(sample) for sample in table])
    if len(success) == 1 or not len(points):
        return Band(points, middle, *np.full((2, len(points)), math.nan))
    return Band(points, middle, *np.array([interquartile_interval(sample) for sample in table]).T)
