"""The best points of a search, made again with seeds that did not choose them."""

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
    """A point, and its mean success over the levels with each of the fresh seeds."""

    point: Point
    scores: Sequence[float]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return sum(self.scores) / len(self.scores)


Finals = Mapping[str, Sequence[Finalist]]  # of each preset, best first


def make_finals(search: Studies, count: int, seeds: int, train: TrainAll) -> Finals:
    """The defaults and the `count` best others of each preset, with so many fresh seeds.

    Args:
        search: whose trials have ended.
        count: points beside the defaults.
        seeds: of each.
        train: makes the runs of some configurations, as far as they are not there yet.
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
