"""Figures of routing: studies, estimators, routing maps, policies over time, accuracies."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metarims.files import aside
from metarims.studies.looks import FIXED, FURTHER, add_legend, marker

from .estimators import Quality
from .outcomes import Outcome
from .trials import Result, by_arm, mean_with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_estimators(qualities: Sequence[Quality], path: Path) -> None:
    """Error, variance and bias² over dimensionality (Rosenbaum et al. 2019, Fig. 9)."""
    figure, axes = _new(3, 1, (6, 9))
    for axis, name in zip(axes, ("error", "variance", "bias"), strict=True):
        for estimator in dict.fromkeys(quality.estimator for quality in qualities):
            mine = [quality for quality in qualities if quality.estimator == estimator]
            values = [max(getattr(quality, name), 1e-9) for quality in mine]
            axis.plot([quality.choices for quality in mine], values, marker="o", label=estimator)
        axis.set_xscale("log", base=2)
        axis.set(yscale="log", xlabel="choices")
    axes[0].set_ylabel("mean squared error")
    axes[1].set_ylabel("variance")
    axes[2].set_ylabel("squared bias")
    axes[2].set_ylim(bottom=1e-7)
    add_legend(figure, axes)
    _save(figure, path)


def draw_routes(routes: Tensor, path: Path) -> None:
    """The routing map (Rosenbaum et al. 2018, Fig. 11).

    Args:
        routes: int64 [tasks, depth], each task's block at each depth.
        path: of the image.
    """
    figure, (axis,) = _new(1, 1, (8, 4))
    depth = routes.shape[1]
    for task, route in enumerate(routes.tolist()):
        line = axis.plot([task, *route], range(depth + 1), marker="o", alpha=0.7)
        axis.annotate(f"T{task + 1}", (task, -0.15), color=line[0].get_color(), ha="center")
    labels = ["task", *(f"layer {i + 1}" for i in range(depth))]
    axis.set_yticks(range(depth + 1), labels)
    axis.set(xlabel="function block", ylim=(depth + 0.3, -0.4))
    _save(figure, path)


def draw_policies(policies: Tensor, path: Path, width: int = 200) -> None:
    """Each task's policy for the first layer over time (Rosenbaum et al. 2018, Fig. 9).

    Args:
        policies: [steps, tasks, depth, K], probabilities.
        path: of the image.
        width: columns that the steps are averaged to.
    """
    first = _thinned(policies[:, :, 0], width)
    figure, axes = _new(first.shape[1], 1, (8, 0.9 * first.shape[1]))
    for task, axis in enumerate(axes):
        axis.imshow(first[:, task].T.numpy(), aspect="auto", cmap="Greys", vmin=0, vmax=1)
        axis.set_ylabel(f"T{task + 1}", rotation=0, labelpad=14)
        axis.set(xticks=[], yticks=[])
    axes[-1].set_xlabel("training, left to right")
    _save(figure, path)


def draw_block(policies: Tensor, block: int, path: Path, width: int = 200) -> None:
    """Every task's probability of one block of the first layer over time (2018, Fig. 10).

    Args:
        policies: [steps, tasks, depth, K], probabilities.
        block: the block.
        path: of the image.
        width: points that the steps are averaged to.
    """
    shares = _thinned(policies[:, :, 0, block], width)
    figure, (axis,) = _new(1, 1, (8, 4))
    for task, share in enumerate(shares.T):
        axis.plot(torch.linspace(0, len(policies), len(shares)), share, label=f"T{task + 1}")
    axis.set(xlabel="step", ylabel=f"probability of block {block}", ylim=(-0.02, 1.02))
    add_legend(figure, [axis])
    _save(figure, path)


def draw_accuracies(outcomes: Sequence[Outcome], path: Path) -> None:
    """Test accuracy after each epoch: every training, and each method's mean."""
    figure, (axis,) = _new(1, 1, (8, 5))
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        curves = torch.tensor([o.accuracy for o in outcomes if o.method == method])
        epochs = range(1, curves.shape[1] + 1)
        (mean,) = axis.plot(epochs, 100 * curves.mean(0), label=method, marker=marker(epochs))
        for curve in curves:
            (line,) = axis.plot(epochs, 100 * curve, color=mean.get_color(), marker=marker(epochs))
            line.set(alpha=0.25, linewidth=1)
    axis.set_ylabel("test accuracy, %")
    _over_epochs(axis)
    add_legend(figure, [axis])
    _save(figure, path)


def draw_axes(axes: Sequence[str], results: Sequence[Result], path: Path) -> None:
    """Accuracy and, below it, selection entropy over epochs (Rosenbaum et al. 2019, Figs. 12 ff.).

    A column is an axis of a study, a line an arm: the mean over seeds, and its 95 % interval.
    """
    figure, panels = _new(2, len(axes), (max(6, 4.2 * len(axes)), 8))
    for column, axis in enumerate(axes):
        above, below = panels[column], panels[len(axes) + column]
        for arm, mine in by_arm(results, axis).items():
            _draw_curves(above, arm, [[100 * x for x in each.curve("accuracy")] for each in mine])
            _draw_curves(below, arm, [each.curve("selection_entropy") for each in mine])
        above.set(title=textwrap.fill(axis, 36), ylim=(0, 100))
        below.set(ylim=(-0.05, None))
        _over_epochs(below)
        above.sharex(below)
        below.sharey(panels[len(axes)])
        below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize="small")
    panels[0].set_ylabel("test accuracy, %")
    panels[len(axes)].set_ylabel("selection entropy, nats")
    _save(figure, path)


def _over_epochs(axis: Axes) -> None:
    """Whole epochs only along the x-axis."""
    from matplotlib.ticker import MaxNLocator  # slow to import

    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _draw_curves(axis: Axes, label: str, curves: Sequence[Sequence[float]]) -> None:
    epochs = range(1, len(curves[0]) + 1)
    means, low, high = zip(*map(mean_with_interval, zip(*curves, strict=True)), strict=True)
    (line,) = axis.plot(epochs, means, label=label, marker=marker(epochs))
    axis.fill_between(epochs, low, high, color=line.get_color(), alpha=0.2)


def _thinned(values: Tensor, width: int) -> Tensor:
    """Averages, NaN aside, of up to `width` stretches of steps, [steps, ...] to [≤ width, ...]."""
    stretches = values.tensor_split(min(width, len(values)))
    return torch.stack([stretch.nanmean(0) for stretch in stretches])


def _new(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for axis in axes:
        axis.set_prop_cycle(color=[*FIXED, *FURTHER])
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    with aside(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix[1:])
