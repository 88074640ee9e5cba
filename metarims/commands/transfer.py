"""``transfer``: any runs on any levels, zero-shot."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError, check_between, check_positive
from ..files import make_folder, write_text
from ..runs import Run, load_runs
from ..studies.compare import note_differences
from ..studies.jobs import evaluate_all
from ..studies.transfer import (
    as_csv,
    as_markdown,
    evaluation_file,
    matrix,
    profiles,
    read_scores,
)
from .base import RunFolders, Wiring, check_levels


@dataclass(frozen=True)
class Transfer:
    """Evaluate runs zero-shot on levels, as one matrix with intervals; resumable.

    Attributes:
        runs: run folders, or folders of runs as left by `train --seeds`; runs that differ only in
            their seed form one row.
        env: level ids.
        episodes: episodes of each run on each level.
        temperature: temperature of the policies, see `evaluate`.
        knock_out: also evaluate agents that have modules with some switched off, see `evaluate`.
        jobs: parallel evaluations (default: one per core).
        out: folder for scores.csv, transfer.md, transfer.png, profiles.png and the evaluations.
    """

    runs: RunFolders
    env: tuple[str, ...]
    out: Path
    episodes: int = 1000
    temperature: float = 1.0
    knock_out: tuple[int, ...] = ()
    jobs: int = os.cpu_count() or 1
    imported: tuple[Path, ...] = ()

    def run(self, wiring: Wiring) -> None:
        """Evaluate what is missing, and print the tables."""
        check_positive(episodes=self.episodes, jobs=self.jobs)
        check_between(0, math.inf, temperature=self.temperature)
        check_levels(wiring.simulator, self.env)
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; choose another folder")
        print(transfer(wiring.program, self, load_runs(self.runs)))


def transfer(program: Path, asked: Transfer, runs: list[Run]) -> str:
    """Evaluate the runs, and write scores, tables and figures to the folder; returns the tables."""
    from ..studies.figures import draw_matrix, draw_profiles  # slow to import

    check_modules(asked.knock_out, runs)
    note_differences(runs)
    folder = make_folder(asked.out / "evaluations")
    asks = [(run, flags_for(asked, run)) for run in runs]
    wanted = {evaluation_file(folder, run, flags): (run, flags) for run, flags in asks}
    evaluate_all(program, asked.imported, asked.jobs, wanted)
    scores = [score for file, (run, _) in wanted.items() for score in read_scores(file, run)]
    table = as_markdown(scores)
    write_text(asked.out / "scores.csv", as_csv(scores))
    write_text(asked.out / "transfer.md", table)
    draw_matrix(matrix(scores, "success_rate"), "success, %", asked.out / "transfer.png")
    draw_profiles(profiles(scores), asked.out / "profiles.png")
    return table


def check_modules(counts: Sequence[int], runs: Sequence[Run]) -> None:
    """Refuse to switch off modules if none of the runs has any."""
    for count in counts:
        check_positive(knock_out=count)
        if not any(run.config.agent.lesions(count) for run in runs):
            raise UsageError("none of the runs has modules to knock out")


def flags_for(asked: Transfer, run: Run) -> list[str]:
    """Flags to evaluate a run with; modules are switched off only if it has any."""
    flags = ["--env", *asked.env, "--episodes", str(asked.episodes)]
    if asked.temperature != 1:
        flags += ["--temperature", str(asked.temperature)]
    if asked.knock_out and all(map(run.config.agent.lesions, asked.knock_out)):
        flags += ["--knock-out", *map(str, asked.knock_out)]
    return flags
