"""The best points of a search, run again with seeds that did not select them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..config import RunConfig
from ..runs import Run
from .curves import read_curve
from .search import SEED, Point, Studies

TrainAll = Callable[[list[RunConfig]], list[Run]]


@dataclass(frozen=True)
class Finalist:
    """A point, and its mean success over the levels for each fresh seed."""

    point: Point
    scores: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return sum(self.scores) / len(self.scores)


Finals = Mapping[str, Sequence[Finalist]]  # by preset, best first


def make_finals(search: Studies, count: int, seeds: int, train: TrainAll) -> Finals:
    """The defaults and the `count` best other points of each preset, with fresh seeds.

    Args:
        search: its trials have ended.
        count: points besides the defaults.
        seeds: fresh seeds for each.
        train: trains the runs of some configurations, unless they are finished.
    """
    points = [(name, point) for name in search.names for point in search.finalists(name, count)]
    runs = train(
        [
            search.config(name, point.number, level, point.settings, SEED + 1 + i)
            for name, point in points
            for i in range(seeds)
            for level in search.levels
        ]
    )
    areas = [read_curve(run).area(run.config.run.frames) for run in runs]
    scores = np.array(areas).reshape(len(points), seeds, -1).mean(2).tolist()
    found: dict[str, list[Finalist]] = {name: [] for name in search.names}
    for (name, point), own in zip(points, scores, strict=True):
        found[name].append(Finalist(point, own))
    return {name: sorted(each, key=lambda finalist: -finalist.mean) for name, each in found.items()}
