"""``reproduce``: one command per experiment."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from ..config import OBSERVATIONS, EnvironmentConfig
from ..errors import check_choice, check_positive
from ..files import make_folder, write_text
from ..runs import Run
from ..settings import Leaf
from ..studies.analysis import Behaviour
from ..studies.behaviour import behaviour_markdown
from ..studies.compare import compare, comparison_markdown, unlike
from ..studies.experiments import Experiment, Scale
from ..studies.jobs import train_all
from ..studies.onward import onward_markdown, read_onward
from ..studies.unseen import courses_markdown, read_courses
from .base import Wiring, check_levels, resolve_device
from .plot import watch_run
from .transfer import Transfer, transfer


@dataclass(frozen=True)
class Reproduce:
    """Reproduce a table or figure, the paper's or ours: train, evaluate and report; resumable.

    Attributes:
        name: the experiment; docs/reproducing.md lists them.
        scale: "small" (hours on a laptop) or "full".
        seeds: runs of each kind (default: the scale's).
        first_seed: seed of the first run of each kind, by default above those that settings were
            tuned on; the report covers the requested seeds only.
        frames: maximum frames of a run (default: the scale's).
        episodes: episodes of each evaluation (default: the scale's).
        observation: observations of all agents, "symbolic" or "rgb".
        jobs: parallel runs (default: one per core).
        out: folder for the runs, which experiments share, with a folder named after the experiment
            for report.md, curves.png and other results.
    """

    name: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")]
    out: Path
    scale: str = "small"
    seeds: int | None = None
    first_seed: int = Scale.first_seed
    frames: int | None = None
    episodes: int | None = None
    observation: str = EnvironmentConfig.observation
    jobs: int = os.cpu_count() or 1
    imported: tuple[Path, ...] = ()

    def run(self, wiring: Wiring) -> None:
        """Train what is missing, evaluate it, and write the report."""
        check_choice("experiment", self.name, wiring.experiments)
        check_choice("observation", self.observation, OBSERVATIONS)
        experiment = wiring.experiments[self.name].with_settings(self.changes())
        check_choice("scale", self.scale, experiment.scales)
        scale = self.scaled(experiment)
        check_positive(seeds=scale.seeds, frames=scale.frames, jobs=self.jobs)
        check_positive(episodes=scale.episodes)
        check_levels(wiring.simulator, experiment.levels)
        runs = [
            run
            for configs in experiment.stages(scale, str(self.out))
            for run in train_all(wiring.program, self.imported, self.jobs, configs)
        ]
        report = self.report(wiring, experiment, scale, runs)
        write_text(self.folder / "report.md", report)
        print(report)

    @property
    def folder(self) -> Path:
        """Folder for the report and figures."""
        changed = (f"{path}={leaf}" for path, leaf in self.changes().items())
        return self.out / " ".join([self.name, *changed])

    def scaled(self, experiment: Experiment) -> Scale:
        """The scale with the requested changes."""
        changes = {"seeds": self.seeds, "frames": self.frames, "episodes": self.episodes}
        given = {name: number for name, number in changes.items() if number is not None}
        return replace(experiment.scales[self.scale], first_seed=self.first_seed, **given)

    def changes(self) -> dict[str, Leaf]:
        """Settings changed in every run, by path."""
        usual = self.observation == EnvironmentConfig.observation
        return {} if usual else {"observation": self.observation}

    def report(self, wiring: Wiring, experiment: Experiment, scale: Scale, runs: list[Run]) -> str:
        """Curves and tables, with the paper's numbers."""
        from ..studies.figures import draw_courses, draw_curves, draw_onward  # slow to import

        draw_curves(runs, make_folder(self.folder) / "curves.png")
        parts = [f"# {self.name}: {experiment.about}\n", comparison_markdown(compare(runs))]
        parts += [f"{text}.\n" for text in unlike(runs)]
        if courses := read_courses(runs):
            draw_courses(courses, self.folder / "unseen.png")
            parts.append(courses_markdown(courses))
        if onward := read_onward(runs):
            draw_onward(onward, self.folder / "onward.png")
            parts.append(onward_markdown(onward))
        if experiment.targets:
            asked = Transfer(
                tuple(str(run.path) for run in runs),
                experiment.targets,
                self.folder,
                scale.episodes,
                knock_out=experiment.knock_out,
                jobs=self.jobs,
                imported=self.imported,
            )
            parts.append(transfer(wiring.program, asked, runs))
        if experiment.watched:
            seen = {run: self.watch(wiring, run) for run in runs}
            parts.append(behaviour_markdown(seen))
        if experiment.paper:
            parts.append(f"The paper reports:\n\n{experiment.paper}\n")
        parts.append(f"`{self.command(scale, experiment.scales[self.scale])}`\n")
        return "\n".join(parts)

    def command(self, scale: Scale, usual: Scale) -> str:
        """The command that makes the report again, at a scale that changes the usual one."""
        words = [f"python run.py reproduce {self.name} --scale {self.scale}"]
        words += [f"--{path} {leaf}" for path, leaf in self.changes().items()]
        if scale.first_seed != Scale.first_seed:
            words.append(f"--first-seed {scale.first_seed}")
        if scale.episodes != usual.episodes:
            words.append(f"--episodes {scale.episodes}")
        return " ".join([*words, f"--seeds {scale.seeds} --frames {scale.frames} --out FOLDER"])

    def watch(self, wiring: Wiring, run: Run) -> Behaviour:
        """Watch an agent act, and draw its figures."""
        from ..studies.figures import draw_run  # slow to import

        folder = self.folder / "figures" / "-".join(run.path.parts[-3:])
        return draw_run(run, *watch_run(wiring.simulator, run, resolve_device("auto")), folder)
