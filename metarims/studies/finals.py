"""The best points of a search, run again with seeds that did not select them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..config import RunConfig
from ..errors import UsageError
from ..runs import Run, load_run
from .curves import read_curve
from .jobs import is_finished, is_lost
from .search import SEED, Point, Studies

TrainAll = Callable[[list[RunConfig]], list[Run]]


@dataclass(frozen=True)
class Finalist:
    """A point, its mean success over the levels for each fresh seed, and whether an episode has
    counted in any of these runs and none of them has failed.
    """

    point: Point
    scores: Sequence[float]
    measured: bool

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
    configs = [
        search.config(name, point.number, level, point.settings, SEED + 1 + i)
        for name, point in points
        for i in range(seeds)
        for level in search.levels
    ]
    runs = _trained(train, configs)
    curves = [read_curve(run) for run in runs]
    areas = [curve.area(run.config.run.frames) for curve, run in zip(curves, runs, strict=True)]
    scores = np.array(areas).reshape(len(points), seeds, -1).mean(2).tolist()
    measured = np.array([curve.is_measured() for curve in curves]).reshape(len(points), -1)
    lost = np.array([*map(is_lost, configs)]).reshape(len(points), -1)
    found: dict[str, list[Finalist]] = {name: [] for name in search.names}
    for (name, point), own, known, gone in zip(points, scores, measured, lost, strict=True):
        found[name].append(Finalist(point, own, bool(known.any() and not gone.any())))
    return {
        name: sorted(each, key=lambda finalist: (not finalist.measured, -finalist.mean))
        for name, each in found.items()
    }


def _trained(train: TrainAll, configs: list[RunConfig]) -> list[Run]:
    """The runs of some configurations; `UsageError` if one failed, but for its gradients."""
    try:
        return train(configs)
    except UsageError:
        if not all(is_finished(config) or is_lost(config) for config in configs):
            raise
    return [load_run(config.run.out) for config in configs]
