"""``reproduce``: the experiments, a command each."""

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
from ..studies.compare import compare, comparison_markdown
from ..studies.experiments import Experiment, Scale
from ..studies.jobs import train_all
from ..studies.onward import onward_markdown, read_onward
from ..studies.unseen import courses_markdown, read_courses
from .base import Wiring, check_levels, resolve_device
from .plot import watch_run
from .transfer import Transfer, transfer


@dataclass(frozen=True)
class Reproduce:
    """Train and evaluate what a table or figure shows, the paper's or ours; a stopped one goes on.

    Attributes:
        name: of the experiment; docs/reproducing.md lists them.
        scale: "small" (hours of a laptop) or "full".
        seeds: runs of each kind (default: the scale's).
        first_seed: of the first run of each kind; settings were chosen by lower ones than it is by
            default, and a report is of the seeds asked for alone.
        frames: of a run at most (default: the scale's).
        observation: what all agents learn from, "symbolic" or "rgb".
        jobs: runs at a time (default: as many as there are cores).
        out: folder for the runs, which experiments share, and in a folder of the experiment's name
            for report.md, curves.png and what else it is about.
    """

    name: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")]
    out: Path
    scale: str = "small"
    seeds: int | None = None
    first_seed: int = Scale.first_seed
    frames: int | None = None
    observation: str = EnvironmentConfig.observation
    jobs: int = os.cpu_count() or 1
    imported: tuple[Path, ...] = ()

    def run(self, wiring: Wiring) -> None:
        """Train what is missing, evaluate it, and leave the report."""
        check_choice("experiment", self.name, wiring.experiments)
        check_choice("observation", self.observation, OBSERVATIONS)
        experiment = wiring.experiments[self.name].with_settings(self.changes())
        check_choice("scale", self.scale, experiment.scales)
        scale = self.scaled(experiment)
        check_positive(seeds=scale.seeds, frames=scale.frames, jobs=self.jobs)
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
        """For what it shows."""
        changed = (f"{path}={leaf}" for path, leaf in self.changes().items())
        return self.out / " ".join([self.name, *changed])

    def scaled(self, experiment: Experiment) -> Scale:
        """The scale, with what is asked for instead."""
        changes = {"seeds": self.seeds, "frames": self.frames}
        given = {name: number for name, number in changes.items() if number is not None}
        return replace(experiment.scales[self.scale], first_seed=self.first_seed, **given)

    def changes(self) -> dict[str, Leaf]:
        """What is changed of every run, by path."""
        usual = self.observation == EnvironmentConfig.observation
        return {} if usual else {"observation": self.observation}

    def report(self, wiring: Wiring, experiment: Experiment, scale: Scale, runs: list[Run]) -> str:
        """Curves and tables, and the paper's numbers beside them."""
        from ..studies.figures import draw_courses, draw_curves, draw_onward  # slow to import

        draw_curves(runs, make_folder(self.folder) / "curves.png")
        parts = [f"# {self.name}: {experiment.about}\n", comparison_markdown(compare(runs))]
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
            parts.append(f"The paper's:\n\n{experiment.paper}\n")
        changed = "".join(f" --{path} {leaf}" for path, leaf in self.changes().items())
        if scale.first_seed != Scale.first_seed:
            changed += f" --first-seed {scale.first_seed}"
        command = f"python run.py reproduce {self.name} --scale {self.scale}{changed}"
        parts.append(f"`{command} --seeds {scale.seeds} --frames {scale.frames} --out FOLDER`\n")
        return "\n".join(parts)

    def watch(self, wiring: Wiring, run: Run) -> Behaviour:
        """Look at an agent as it acts; its figures."""
        from ..studies.figures import draw_run  # slow to import

        folder = self.folder / "figures" / "-".join(run.path.parts[-3:])
        return draw_run(run, *watch_run(wiring.simulator, run, resolve_device("auto")), folder)
