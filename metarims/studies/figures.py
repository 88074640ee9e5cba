"""Figures of runs: learning curves, and what the modules do and the agent expects as it acts."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator
from torch import Tensor

from ..config import TOGETHER
from ..files import aside, make_folder, write_text
from ..rollout import Rollout
from ..runs import Run
from ..statistics import Profile, module_choices
from ..tables import csv_table
from .analysis import (
    Behaviour,
    ChoiceReport,
    ValueApproach,
    describe_modules,
    find_levels,
    value_before_success,
)
from .bands import Band, band_of_courses, band_of_curves
from .compare import agent_of, parts_of
from .curves import Curve, read_curve
from .looks import (
    Look,
    add_legend,
    counted_looks,
    fitted,
    looks,
    marker,
    shared_ends,
    without,
)
from .onward import Onward
from .transfer import ALL, NO_FIGURE, THEN, THRESHOLDS, Matrix, columns
from .transfer import Figure as Number
from .unseen import Courses

matplotlib.use("Agg")

PANEL = 4.2  # inches, the width of one among others
# What learning costs, by the figure of a curve that says so.
COSTS = {
    "frames": "frames",
    "updates": "gradient steps",
    "seconds": "seconds (wall clock, without compilation)",
}
CURVES = ("level", "agent", "seeds", "cost", "at", "success", "low", "high")  # in their table
EPISODES = 9  # in the figure of one environment's episodes, as in Meta-RIMs' Fig. 7
FRAME: Mapping[str, Any] = {"fill": False, "linewidth": 1.8, "label": "a level trained on"}
MARKED = ("facing a door", "carrying", "about to succeed")


def draw_curves(runs: Iterable[Run], path: Path) -> None:
    """Success rate over frames, gradient steps and seconds, a column a level, a line an agent: the
    interquartile mean over seeds with its 95 % bootstrap band, from where episodes of all of them
    count. A line's label has what its runs changed of their preset, and how many seeds it is of;
    what all agents changed alike is in the title. The numbers are in a CSV file beside the image.
    """
    rows: list[tuple[object, ...]] = []
    panels: dict[str, dict[str, list[Curve]]] = {}
    for run in runs:
        panel = panels.setdefault(run.config.environment.label, {})
        panel.setdefault(agent_of(run), []).append(read_curve(run))
    shared, shown = counted_looks(panels.values())
    figure, axes = _new_figure(len(COSTS), len(panels))
    for column, (level, agents) in zip(axes.T, panels.items(), strict=True):
        before = _with_those_before(
            curve.frames[0] for curves in agents.values() for curve in curves
        )
        for axis, (cost, title) in zip(column, COSTS.items(), strict=True):
            for label, band in _draw_agents(axis, shown, agents, cost).items():
                own = level, label, len(agents[label]), cost
                rows += [(*own, *numbers) for numbers in band.rows()]
            _set_axes(axis, title + (before if cost == "frames" else ""))
        _set_title(column[0], level)
    _finish(figure, axes, shared, path)
    write_text(path.with_suffix(".csv"), csv_table(CURVES, rows))


def draw_courses(courses: Courses, path: Path) -> None:
    """Zero-shot success along trainings: a row for what was learnt, a column a level, a line an
    agent, as `draw_curves` has them.
    """
    sources = [*dict.fromkeys(source for source, _ in courses)]
    levels = [*dict.fromkeys(level for _, level in courses)]
    shared, shown = counted_looks(courses.values())
    figure, axes = _new_figure(len(sources), len(levels))
    for row, source in zip(axes, sources, strict=True):
        for axis, level in zip(row, levels, strict=True):
            agents = courses.get((source, level), {})
            for label, runs in agents.items():
                _draw_band(axis, shown[label], band_of_courses(runs))
            before = _with_those_before(run.begun for runs in agents.values() for run in runs)
            _set_axes(axis, f"frames of {source}{before}")
            _set_title(axis, level)
    _finish(figure, axes, shared, path)


def draw_onward(onward: Onward, path: Path) -> None:
    """Success over the frames of levels learnt after another one, a column a level, a line an
    agent and start, as `draw_curves` has them; frames are counted from each level's beginning.
    """
    panels = {
        level: {
            f"{kind} {start}": runs
            for start, kinds in starts.items()
            for kind, runs in kinds.items()
        }
        for level, starts in onward.items()
    }
    shared, shown = counted_looks(panels.values())
    figure, axes = _new_figure(1, len(panels))
    for axis, (level, agents) in zip(axes[0], panels.items(), strict=True):
        own = {label: [run.on_its_own() for run in curves] for label, curves in agents.items()}
        _draw_agents(axis, shown, own, "frames")
        _set_axes(axis, "frames of this level alone")
        _set_title(axis, level)
    _finish(figure, axes, shared, path)


def _new_figure(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Room for some panels, and their axes, [rows, columns]."""
    figure = Figure(figsize=(max(5, PANEL * columns), 3.1 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _set_axes(axis: Axes, label: str) -> None:
    """Success from 0 to 1 over what it costs, from 0 on, in whole numbers."""
    axis.set(xlabel=label, ylabel="success rate", ylim=(-0.02, 1.02))
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def _set_title(axis: Axes, text: str) -> None:
    """A title with levels in it, which leaves those of the panels beside it alone."""
    axis.set_title(fitted(text.replace(TOGETHER, " + "), PANEL), fontsize="medium")


def _with_those_before(begun: Iterable[float]) -> str:
    """What to say of frames that some runs count on from those of another one."""
    return ", with those of the level before" if any(frames > 0 for frames in begun) else ""


def _finish(figure: Figure, axes: np.ndarray, shared: str, path: Path) -> None:
    """Say what all agents share above and who is who below, and write the image."""
    if shared:
        text = fitted(f"all agents: {shared}", figure.get_figwidth())
        figure.suptitle(text, fontsize="medium")
    add_legend(figure, axes.flat)
    save_figure(figure, path)


def _draw_agents(
    axis: Axes, looks: Mapping[str, Look], agents: Mapping[str, Sequence[Curve]], cost: str
) -> dict[str, Band]:
    """A panel's agents, by label; or that there is no success rate to show yet."""
    bands = {label: band_of_curves(curves, cost) for label, curves in agents.items()}
    for label, band in bands.items():
        _draw_band(axis, looks[label], band)
    if not any(np.size(line.get_xdata()) for line in axis.lines):
        curves = [*itertools.chain(*agents.values())]
        whose = " of some runs" if any(curve.is_measured() for curve in curves) else ""
        text = f"no episode{whose} has counted yet"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center")
        axis.set_xlim(right=max(1, *(getattr(curve, cost)[-1] for curve in curves)))
    return bands


def _draw_band(axis: Axes, look: Look, band: Band) -> None:
    (line,) = axis.plot(band.points, band.middle, color=look.color, linestyle=look.line)
    line.set_label(look.name)
    line.set_marker(marker(band.points))
    if not np.isnan(band.low).all():
        sides = band.low, band.high
        axis.fill_between(band.points, *sides, color=look.color, alpha=0.2, linewidth=0)


def draw_matrix(rows: Matrix, what: str, path: Path) -> None:
    """Heat maps: one for what was learnt, a row an agent, a column a level, the numbers with their
    intervals; frames mark the levels learnt. What all levels' ids begin and end with is in the
    title alone, as are settings that all agents share.
    """
    levels = columns(rows)
    ends = shared_ends([_split(level)[0] for level in levels if level != ALL])
    heads = [
        without(ends, level) + off.replace(", ", "\n", 1)
        for column in levels
        for level, off in [_split(column)]
    ]
    shared, shown = looks(agent for _, agent in rows)
    names = {agent: "\n".join(parts_of(look.name)) for agent, look in shown.items()}
    groups: dict[str, dict[str, Mapping[str, Number]]] = {}
    for (learnt, agent), cells in rows.items():
        groups.setdefault(learnt, {})[agent] = cells
    across = len(levels) * max(1.1, 0.09 * _widest(heads))
    titles = [fitted(f"trained on {_told(learnt, ends)}", across) for learnt in groups]
    width = 0.6 + 0.08 * _widest(names.values()) + across
    height = 0.9 + 0.45 * len(rows) + sum(0.15 + 0.2 * len(title.split("\n")) for title in titles)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(
        len(groups), sharex=True, squeeze=False, height_ratios=[*map(len, groups.values())]
    )[:, 0]
    for axis, (learnt, group), title in zip(axes, groups.items(), titles, strict=True):
        _draw_group(axis, {*re.split(r"[ +,]", learnt)}, group, levels)
        axis.set_yticks(range(len(group)), [names[agent] for agent in group], fontsize="small")
        axis.set_title(title, fontsize="medium", loc="left")
    axes[-1].set_xticks(range(len(levels)), heads)
    where = f" on {'…'.join(ends)}" if any(ends) else ""
    figure.suptitle(f"{what}{where}" + (f"\nall agents: {shared}" if shared else ""))
    add_legend(figure, axes)
    save_figure(figure, path)


def _told(learnt: str, ends: tuple[str, str]) -> str:
    """The levels learnt, without what all levels' ids begin and end with."""
    return THEN.join(
        " + ".join(without(ends, one) for one in levels.split(TOGETHER))
        for levels in learnt.split(THEN)
    )


def _split(column: str) -> tuple[str, str]:
    """The level of a matrix's column, and what is switched off there, with the comma before it."""
    level, comma, off = column.partition(", ")
    return level, comma + off


def _widest(texts: Iterable[str]) -> int:
    """Characters of the longest line."""
    return max(len(line) for text in texts for line in text.split("\n"))


def _draw_group(
    axis: Axes,
    learnt: Collection[str],
    group: Mapping[str, Mapping[str, Number]],
    levels: Sequence[str],
) -> None:
    """The cells of agents trained on the same levels, which are `learnt`, among other words."""
    values = [
        [cells[level].value if level in cells else math.nan for level in levels]
        for cells in group.values()
    ]
    axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axis.tick_params(length=0)
    for y, cells in enumerate(group.values()):
        for x, level in enumerate(levels):
            text = _in_percent(cells[level]) if level in cells else NO_FIGURE
            color = "white" if values[y][x] < 0.6 else "black"
            axis.text(x, y, text, ha="center", va="center", color=color, fontsize="small")
            if level in cells and _split(level)[0] in learnt:
                axis.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, **FRAME))


def _in_percent(number: Number) -> str:
    """A number and below it its interval, if it has one."""
    value, low, high = (100 * x for x in (number.value, number.low, number.high))
    return f"{value:.1f}" if math.isnan(low) else f"{value:.1f}\n{low:.0f} – {high:.0f}"


def draw_profiles(profiles: Mapping[str, Mapping[str, Profile]], path: Path) -> None:
    """Performance profiles with their bands: a panel for what was learnt, a line an agent."""
    shared, shown = looks(agent for agents in profiles.values() for agent in agents)
    figure, axes = _new_figure(1, len(profiles))
    for axis, (learnt, agents) in zip(axes[0], profiles.items(), strict=True):
        for agent, (share, low, high) in agents.items():
            look = shown[agent]
            axis.plot(THRESHOLDS, share, color=look.color, linestyle=look.line, label=look.name)
            axis.fill_between(THRESHOLDS, low, high, color=look.color, alpha=0.2, linewidth=0)
        axis.set(
            xlabel="success rate τ", ylabel="share of runs and levels above τ", ylim=(-0.02, 1.02)
        )
        _set_title(axis, f"trained on {learnt}")
    _finish(figure, axes, shared, path)


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
            (line,) = axis.plot(frames, [row[name] for row in rows], label=f"module {j}")
            line.set(linewidth=1, marker=marker(frames))
        axis.set(title=choice, ylabel="share of steps active", ylim=(-0.02, 1.02))
    axes[-1].set_xlabel("frames")
    axes[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    add_legend(figure, axes)
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
