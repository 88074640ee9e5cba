"""The results of a search: a table for each preset, and its best settings as flags."""

from __future__ import annotations

from ..statistics import bootstrap_interval
from ..tables import csv_table, markdown_table
from .finals import Finalist, Finals
from .search import Point, Studies
from .trials import as_score, flags

NONE_BEST = (
    "In these runs no episode has counted or no gradient was finite, so none of the settings is "
    "the best."
)


def as_markdown(search: Studies, finals: Finals) -> str:
    """The report: budget, finalists, and the best settings as commands to paste."""
    frames = search.presets[0].run.frames
    lines = [f"# Search: {', '.join(search.names)} on {', '.join(search.levels)}\n"]
    lines.append(
        f"Each agent had {search.trials} trials of up to {frames:,} frames per level, including "
        f"the defaults (sampler {search.sampler}, pruner {search.pruner}). The defaults and the "
        "best other settings were trained again with fresh seeds. Mean success is averaged over "
        "the frames of a run and over levels.\n"
    )
    lines.append(markdown_table(["agent", "trials", "ended early", "frames"], _effort(search)))
    for name, found in finals.items():
        lines.append(f"\n## {name}\n")
        titles = ["trial", "settings", "mean success", "95 %", "as a trial"]
        lines.append(markdown_table(titles, map(_row, found)))
        best = found[0]
        said = f"```\n{commands(search, name, best.point)}\n```" if best.measured else NONE_BEST
        lines.append(f"\n{said}")
    return "\n".join(lines) + "\n"


def as_csv(search: Studies, finals: Finals) -> str:
    """A row per trial, with a column for each setting that one of them changed."""
    points = {name: search.points(name) for name in search.names}
    varied = {path: None for each in points.values() for p in each for path in p.settings}
    titles = ["agent", "trial", "ended_early", "frames", "mean_success", "with_fresh_seeds"]
    rows: list[list[object]] = []
    for name, each in points.items():
        known = [finalist for finalist in finals[name] if finalist.measured]
        means = {finalist.point.number: finalist.mean for finalist in known}
        for p in each:
            own = [p.settings.get(path, "") for path in varied]
            mean = means.get(p.number, "")
            score = p.score if p.measured else ""
            rows.append([name, p.number, p.pruned, p.frames, score, mean, *own])
    return csv_table([*titles, *varied], rows)


def commands(search: Studies, name: str, point: Point) -> str:
    """The commands that train a point's agent, on one level each, as in a trial."""
    frames = search.presets[0].run.frames
    own = filter(None, (name, flags(point.settings)))
    train = f"python run.py train --agent {' '.join(own)} --frames {frames}"
    return "\n".join(f"{train} --env {level} --out runs/{name}-{level}" for level in search.levels)


def _effort(search: Studies) -> list[list[str]]:
    rows = []
    for name in search.names:
        points = search.points(name)
        early, frames = sum(p.pruned for p in points), sum(p.frames for p in points)
        rows.append([name, str(len(points)), str(early), f"{frames:,}"])
    return rows


def _row(finalist: Finalist) -> list[str]:
    point, known = finalist.point, finalist.measured
    settings = f"`{flags(point.settings)}`" if point.settings else "the defaults"
    low, high = bootstrap_interval(finalist.scores)
    several = known and len(finalist.scores) > 1
    return [
        str(point.number),
        settings,
        as_score(finalist.mean if known else None),
        f"{low:.3f} – {high:.3f}" if several else "–",
        as_score(point.score if point.measured else None),
    ]
