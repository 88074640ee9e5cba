"""Outcomes of trainings: accuracies, figures of the routes, and their summary."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from metarims.statistics import entropy, module_figures

from ..cores.routing.network import Routed

COLLAPSE = ("selection_entropy", "blocks", "H_A", "information")  # for each depth, and on average


@dataclass(frozen=True)
class Outcome:
    """The outcome of one training.

    Attributes:
        method, seed: of the training.
        accuracy: on the test samples after each epoch.
        seconds: of training.
        history: `routing_figures` on the test samples after each epoch, empty without routes.
        policies: [steps, tasks, depth, K], the mean probabilities of each task's samples; NaN where
            a step has none.
        routes: [tasks, depth], the block that most of each task's test samples take.
    """

    method: str
    seed: int
    accuracy: list[float]
    seconds: float
    history: list[dict[str, float]]
    policies: Tensor | None = None
    routes: Tensor | None = None

    @property
    def figures(self) -> dict[str, float]:
        """Those of the routing after the last epoch."""
        return self.history[-1]


def routing_figures(routed: Routed) -> dict[str, float]:
    """How varied the routes are at each depth and on average, and the number of distinct paths.

    See Kirsch et al. 2018 and Rosenbaum et al. 2019, §5. ``selection_entropy`` is that of the
    blocks taken, in nats; 0 is collapse. ``blocks`` is the number of them in use.
    """
    choices, probabilities = routed.trace.choices, routed.probabilities
    layers = []
    for i in range(choices.shape[1]):
        mask = F.one_hot(choices[:, i], probabilities.shape[2])
        layer = module_figures(mask.bool().unsqueeze(0), probabilities[:, i].unsqueeze(0))
        layer["selection_entropy"] = entropy(mask.double().mean(0))
        layer["blocks"] = probabilities.shape[2] - layer["dead"]
        layers.append({name: float(value) for name, value in layer.items()})
    figures = {f"depth_{i}/{name}": x for i, each in enumerate(layers) for name, x in each.items()}
    means = {name: statistics.mean(layer[name] for layer in layers) for name in COLLAPSE}
    return {**figures, **means, "paths": len(choices.unique(dim=0))}


def by_task(values: Tensor, tasks: Tensor, count: int) -> Tensor:
    """Means of values [N, ...] over each task's samples, [tasks, ...]; NaN without any."""
    sums = values.new_zeros(count, *values.shape[1:]).index_add_(0, tasks, values)
    sizes = tasks.bincount(minlength=count).to(values)
    return sums / sizes.view(-1, *[1] * (values.dim() - 1))


def summary(outcomes: list[Outcome]) -> list[dict[str, float | str]]:
    """For each method the mean final test accuracy over seeds, its standard deviation (NaN with one
    seed), the number of seeds and their mean time.
    """
    rows: list[dict[str, float | str]] = []
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.method == method]
        last = [outcome.accuracy[-1] for outcome in mine]
        rows.append(
            {
                "method": method,
                "accuracy": statistics.mean(last),
                "deviation": statistics.stdev(last) if len(last) > 1 else math.nan,
                "seeds": len(mine),
                "seconds": statistics.mean(outcome.seconds for outcome in mine),
            }
        )
    return rows
