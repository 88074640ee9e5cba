"""``plot``: learning curves, and what the modules of each run do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from ..errors import UsageError, check_positive, check_seed
from ..evaluation import SEED
from ..files import make_folder, write_json
from ..protocols import Simulator
from ..rollout import Rollout
from ..runs import Run, load_runs
from ..studies.analysis import about_to_succeed, watch
from ..studies.unseen import read_courses
from .base import RunFolders, Wiring, load_agent, make_env, resolve_device

NUM_ENVS, STEPS = 64, 256


@dataclass(frozen=True)
class Plot:
    """Draw learning curves of runs and, for each run, its modules, values and some episodes.

    Runs that were evaluated on other levels during training also get curves of these.

    Attributes:
        runs: run folders, or folders of runs as left by `train --seeds`.
        out: folder for the figures.
        steps: steps to watch each agent for, in 64 environments of its training levels.
        seed: seed of these steps.
        device: "auto", "cpu" or "cuda".
    """

    runs: RunFolders
    out: Path
    steps: int = STEPS
    seed: int = SEED
    device: str = "auto"

    def run(self, wiring: Wiring) -> None:
        """Draw, and print what the modules do."""
        from ..studies.figures import draw_courses, draw_curves, draw_run  # slow to import

        check_positive(steps=self.steps)
        check_seed(self.seed)
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; choose another folder")
        device = resolve_device(self.device)
        runs = load_runs(self.runs)
        watched = [watch_run(wiring.simulator, run, device, self.steps, self.seed) for run in runs]
        draw_curves(runs, make_folder(self.out) / "curves.png")
        if courses := read_courses(runs):
            draw_courses(courses, self.out / "unseen.png")
        for run, name, (rollout, events) in zip(runs, names_apart(runs), watched, strict=True):
            folder = self.out / name
            choices = draw_run(run, rollout, events, folder).choices
            if choices:
                reports = {name: asdict(report) for name, report in choices.items()}
                write_json(folder / "modules.json", reports)
            for choice, found in choices.items():
                print(f"{run.path}: {choice}: {found.line()}")
        print(f"figures in {self.out}")


def names_apart(runs: Sequence[Run]) -> list[Path]:
    """The runs' folders, as seen from the one that contains them all."""
    paths = [run.path.resolve() for run in runs]
    shared = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(shared) for path in paths]


def watch_run(
    simulator: Simulator, run: Run, device: str, steps: int = STEPS, seed: int = SEED
) -> tuple[Rollout, dict[str, Tensor]]:
    """A rollout of the run's agent, and the events at each step, bool [T, B] by name."""
    trained, make = run.config.environment, simulator.make
    env = make_env(make, trained.elsewhere(trained.env, NUM_ENVS), device, seed)
    rollout = watch(load_agent(run, env, run.load()), env, steps, seed)
    events = simulator.find_events(rollout.obs)
    return rollout, events | {"about to succeed": about_to_succeed(rollout)}
