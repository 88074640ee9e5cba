"""Figures of runs: learning curves, and what the modules do and the agent expects as it acts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from torch import Tensor

from ..files import aside, make_folder
from ..rollout import Rollout
from ..runs import Run
from ..statistics import Profile, interquartile_interval, interquartile_mean, module_choices
from .analysis import (
    Behaviour,
    ChoiceReport,
    ValueApproach,
    describe_modules,
    find_levels,
    value_before_success,
)
from .compare import agent_of
from .curves import Curve, read_curve
from .onward import SCRATCH, Onward
from .transfer import NO_FIGURE, THRESHOLDS, Matrix, columns
from .transfer import Figure as Number
from .unseen import Courses

matplotlib.use("Agg")

POINTS = 80  # of a band
# What learning costs, by the figure of a curve that says so.
COSTS = {"frames": "frames", "updates": "gradient steps", "seconds": "seconds"}
EPISODES = 9  # in the figure of one environment's episodes, as in Meta-RIMs' Fig. 7
MARKED = ("facing a door", "carrying", "about to succeed")


def draw_curves(runs: Iterable[Run], path: Path) -> None:
    """Success rate over frames, gradient steps and seconds, a column a level, a line an agent: the
    interquartile mean over seeds with its 95 % bootstrap band. A line's label has what its runs
    changed of their preset, and how many seeds it is of.
    """
    panels: dict[str, dict[str, list[Curve]]] = {}
    for run in runs:
        panel = panels.setdefault(run.config.environment.label, {})
        panel.setdefault(agent_of(run), []).append(read_curve(run))
    size = (max(5, 4.2 * len(panels)), 3.2 * len(COSTS))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(COSTS), len(panels), squeeze=False)
    for column, (level, agents) in zip(axes.T, panels.items(), strict=True):
        for axis, (cost, title) in zip(column, COSTS.items(), strict=True):
            for label, curves in agents.items():
                _draw_band(axis, f"{label} ({len(curves)})", curves, cost)
            axis.set(xlabel=title, ylabel="success rate", ylim=(-0.02, 1.02))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        column[0].set_title(level, fontsize="medium")
        column[0].legend(loc="best", fontsize="x-small")
    save_figure(figure, path)


def draw_courses(courses: Courses, path: Path) -> None:
    """Zero-shot success along trainings: a row for what was learnt, a column a level, a line an
    agent, as `draw_curves` has them.
    """
    sources = [*dict.fromkeys(source for source, _ in courses)]
    levels = [*dict.fromkeys(level for _, level in courses)]
    size = (max(5, 4.2 * len(levels)), 3.2 * len(sources))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(sources), len(levels), squeeze=False)
    for row, source in zip(axes, sources, strict=True):
        for axis, level in zip(row, levels, strict=True):
            for label, runs in courses.get((source, level), {}).items():
                seen, success = [run.frames for run in runs], [run.success for run in runs]
                points = np.unique(np.concatenate(seen))
                points = points[points <= min(x[-1] for x in seen)]
                _draw_middle(axis, f"{label} ({len(runs)})", points, seen, success)
            axis.set(xlabel=f"frames of {source}", ylabel="success rate", ylim=(-0.02, 1.02))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.set_title(level, fontsize="medium")
        row[0].legend(loc="best", fontsize="x-small")
    save_figure(figure, path)


def draw_onward(onward: Onward, path: Path) -> None:
    """Success over the frames of levels learnt after another one, a column a level, a line
    an agent and start, those from scratch dashed, as `draw_curves` has them.
    """
    figure = Figure(figsize=(max(5, 4.2 * len(onward)), 4.2), layout="constrained")
    axes = figure.subplots(1, len(onward), squeeze=False)[0]
    for axis, (level, starts) in zip(axes, onward.items(), strict=True):
        kinds = [*dict.fromkeys(kind for agents in starts.values() for kind in agents)]
        for start, agents in starts.items():
            for kind, curves in agents.items():
                own = [curve.on_its_own() for curve in curves]
                style = f"C{kinds.index(kind)}{'--' if start == SCRATCH else ''}"
                _draw_band(axis, f"{kind}, {start} ({len(own)})", own, "frames", style)
        axis.set(xlabel=f"frames of {level}", ylabel="success rate", ylim=(-0.02, 1.02))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize="x-small")
    save_figure(figure, path)


def _draw_band(axis: Axes, label: str, curves: Sequence[Curve], cost: str, style: str = "") -> None:
    # A run that ended because it had learnt goes on as it ended.
    seen = [getattr(curve, cost) for curve in curves]
    cut = [x[-1] for x, curve in zip(seen, curves, strict=True) if not curve.learnt]
    points = np.linspace(0, min(cut) if cut else max(x[-1] for x in seen), POINTS)
    _draw_middle(axis, label, points, seen, [curve.success for curve in curves], style)


def _draw_middle(
    axis: Axes,
    label: str,
    points: np.ndarray,
    seen: Sequence[np.ndarray],
    success: Sequence[np.ndarray],
    style: str = "",
) -> None:
    """Interquartile means at some points of curves, success over what was seen, and their band."""
    table = np.stack(
        [np.interp(points, x, y, left=0) for x, y in zip(seen, success, strict=True)], 1
    )  # [points, seeds]
    means = [interquartile_mean(sample) for sample in table]
    (line,) = axis.plot(points, means, style, label=label)
    if len(success) > 1:
        band = np.array([interquartile_interval(sample) for sample in table]).T
        axis.fill_between(points, *band, color=line.get_color(), alpha=0.2)


def draw_matrix(rows: Matrix, title: str, path: Path) -> None:
    """A heat map: a row a source and agent, a column a level, the numbers with their intervals."""
    levels = columns(rows)
    labels = [f"{agent}, trained on {source}" for source, agent in rows]
    values = [
        [cells[level].value if level in cells else math.nan for level in levels]
        for cells in rows.values()
    ]
    size = (0.6 + 0.07 * max(map(len, labels)) + 1.9 * len(levels), 1.6 + 0.55 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axis.set(xticks=range(len(levels)), yticks=range(len(rows)), title=title)
    axis.set_xticklabels([level.replace(", ", "\n") for level in levels], fontsize="small")
    axis.set_yticklabels(labels, fontsize="small")
    for y, cells in enumerate(rows.values()):
        for x, level in enumerate(levels):
            text = _in_percent(cells[level]) if level in cells else NO_FIGURE
            color = "white" if values[y][x] < 0.6 else "black"
            axis.text(x, y, text, ha="center", va="center", color=color, fontsize="x-small")
    save_figure(figure, path)


def _in_percent(number: Number) -> str:
    """A number and below it its interval, if it has one."""
    value, low, high = (100 * x for x in (number.value, number.low, number.high))
    return f"{value:.1f}" if math.isnan(low) else f"{value:.1f}\n{low:.0f} – {high:.0f}"


def draw_profiles(profiles: Mapping[str, Mapping[str, Profile]], path: Path) -> None:
    """Performance profiles with their bands: a panel a source, a line an agent."""
    figure = Figure(figsize=(max(5, 4.2 * len(profiles)), 3.4), layout="constrained")
    axes = figure.subplots(1, len(profiles), squeeze=False)[0]
    for axis, (source, agents) in zip(axes, profiles.items(), strict=True):
        for agent, (share, low, high) in agents.items():
            (line,) = axis.plot(THRESHOLDS, share, label=agent)
            axis.fill_between(THRESHOLDS, low, high, color=line.get_color(), alpha=0.2)
        axis.set(
            xlabel="success rate τ", ylabel="share of runs and levels above τ", ylim=(-0.02, 1.02)
        )
        axis.set_title(f"trained on {source}", fontsize="medium")
        axis.legend(loc="best", fontsize="x-small")
    save_figure(figure, path)


def draw_episodes(
    rollout: Rollout, events: Mapping[str, Tensor], steps: int | None = None, env: int = 0
) -> Figure:
    """One environment's first episodes, or first steps of them: value, active modules, events
    (Madan et al. 2021, Figs. 6b, 7, 11 and 12).
    """
    starts = rollout.starts[:, env].nonzero().squeeze(1).tolist()
    end = starts[EPISODES] if len(starts) > EPISODES else len(rollout.starts)
    end = min(end, steps or end)
    choices = module_choices(rollout.diagnostics)
    marked = {name: event for name, event in events.items() if name in MARKED}
    heights = [3, *[2 for _ in choices], 1.2]
    figure = Figure(figsize=(min(max(6, end / 8), 20), sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    axes[0].plot(rollout.values[:end, env].cpu(), linewidth=1)
    axes[0].set(ylabel="value")
    for axis, (choice, (mask, _)) in zip(axes[1:], choices.items(), strict=False):
        _draw_raster(axis, mask[:end, env], [f"module {j}" for j in range(mask.shape[2])])
        axis.set_ylabel(choice.removeprefix("modules/"))
    rows = np.stack([event[:end, env].cpu().numpy() for event in marked.values()], 1)
    _draw_raster(axes[-1], rows, list(marked))
    axes[-1].set_xlabel("step (a red line begins an episode)")
    for axis in axes:
        for start in (start for start in starts if start < end):
            axis.axvline(start - 0.5, color="tab:red", linewidth=0.8)
    return figure


def _draw_raster(axis: Axes, rows: Tensor | np.ndarray, labels: Sequence[str]) -> None:
    """rows bool [T, rows]; the first one on top."""
    axis.imshow(
        np.asarray(rows).T, aspect="auto", cmap="Greys", vmin=0, vmax=1.3, interpolation="nearest"
    )
    axis.set_yticks(range(len(labels)), labels)


def draw_events(described: ChoiceReport) -> Figure:
    """How much more or less each module works at an event than otherwise, with the shares."""
    events = described.events
    overall = np.array(described.use)
    shares = np.array([overall, *(event.use for event in events.values())])
    labels = ["all steps", *(f"{name} ({event.steps:,})" for name, event in events.items())]
    modules = range(len(overall))
    figure = Figure(figsize=(5 + 0.7 * len(modules), 1.2 + 0.4 * len(labels)), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(shares - overall, cmap="RdBu_r", vmin=-0.5, vmax=0.5, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if abs(share - overall[column]) > 0.3 else "black"  # on a dark cell
        axis.text(column, row, f"{share:.2f}", ha="center", va="center", color=color)
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xticks=modules, xlabel="module", title="share of steps active")
    figure.colorbar(image, label="over all steps' share")
    return figure


def draw_approach(approach: ValueApproach) -> Figure:
    """The value as success comes near, with its 95 % band."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    steps = range(len(approach.mean))
    axis.plot(steps, approach.mean, marker="o", markersize=3)
    axis.fill_between(steps, approach.low, approach.high, alpha=0.2)
    axis.set(xlabel="steps to success", ylabel="mean value", xticks=steps[::5])
    axis.invert_xaxis()
    return figure


def draw_use(run: Run, choices: Sequence[str], path: Path) -> None:
    """Each module's share of steps over the training, a panel for each choice among modules."""
    rows = list(run.metrics())
    frames = [row["frames"] for row in rows]
    figure = Figure(figsize=(8, 3 * len(choices)), layout="constrained")
    axes = figure.subplots(len(choices), 1, sharex=True, squeeze=False)[:, 0]
    for axis, choice in zip(axes, choices, strict=True):
        uses = [name for name in rows[-1] if name.startswith(f"{choice}/use_")]
        for j, name in enumerate(uses):
            axis.plot(frames, [row[name] for row in rows], label=str(j), linewidth=1)
        axis.set(title=choice, ylabel="share of steps active", ylim=(-0.02, 1.02))
        axis.legend(ncol=len(uses), fontsize="small")
    axes[-1].set_xlabel("frames")
    axes[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    save_figure(figure, path)


def draw_behaviour(
    rollout: Rollout,
    events: Mapping[str, Tensor],
    levels: Sequence[str],
    steps: int | None = None,
) -> tuple[Behaviour, dict[str, Figure]]:
    """What an agent is seen to do, and figures of it by name, those of modules where it has any.

    Args:
        rollout: the agent as it acts.
        events: what happens at each of its steps, bool [T, B] by name.
        levels: the ids of the rollout's levels.
        steps: that the figure of episodes has at most.
    """
    on = find_levels(rollout, levels)
    seen = Behaviour(value_before_success(rollout), describe_modules(rollout, {**events, **on}))
    figures = {"episodes": draw_episodes(rollout, events, steps)}
    if seen.approach.mean:
        figures["values"] = draw_approach(seen.approach)
    for choice, described in seen.choices.items():
        figures[choice.replace("modules", "events").replace("/", "_")] = draw_events(described)
    return seen, figures


def draw_run(run: Run, rollout: Rollout, events: Mapping[str, Tensor], folder: Path) -> Behaviour:
    """All figures of a run's agent into a folder, and what they show; see `draw_behaviour`."""
    seen, figures = draw_behaviour(rollout, events, run.config.environment.env)
    for name, figure in figures.items():
        save_figure(figure, folder / f"{name}.png")
    if seen.choices:
        draw_use(run, list(seen.choices), folder / "use.png")
    return seen


def save_figure(figure: Figure, path: Path) -> None:
    """Write the image whole or not at all; its folder is made where it is missing."""
    make_folder(path.parent)
    with aside(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
