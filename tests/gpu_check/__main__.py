"""``python -m tests.gpu_check``: check and measure on a GPU, and write a report in Markdown.

Each step runs in a separate process, and a failure does not stop the others; the exit code is 1 if
one failed, 2 if there is no GPU. `--dry-run` takes every step without one, at a small scale and in
one process, and says what stood in for it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro

from metarims.errors import UsageError, check_choice
from metarims.files import check_writable, write_text

from .exactness import (
    compare_captured,
    compare_cells,
    compare_runs,
    compare_seeds,
    compare_trajectories,
)
from .launch import try_launches
from .report import Step, take, take_apart, write_up
from .scale import DRY, GPU
from .speed import learn, learn_at_once, race_environments, time_training

CPU = "the CPU, and few of everything"
STEPS = (
    Step(
        "launch",
        "Kernels that run, and from a CUDA graph",
        try_launches,
        "the GPU's launcher and kernels, thread after thread; no graph",
    ),
    Step(
        "trajectories",
        "Environments on CPU and GPU, bit for bit",
        compare_trajectories,
        "the GPU's launcher and kernels, thread after thread, by what is compiled for the CPU",
    ),
    Step(
        "cells",
        "Fused spans and their definitions",
        compare_cells,
        "Triton's interpreter",
    ),
    Step("determinism", "Two runs of one seed", compare_runs, CPU),
    Step(
        "captured",
        "Iterations captured as a CUDA graph and as they are",
        compare_captured,
        "a tape of PyTorch's operations and the environments' kernels",
    ),
    Step("stacked", "Seeds at once and each alone", compare_seeds, CPU),
    Step("envs", "Steps a second of environments", race_environments, CPU),
    Step("train", "Frames a second of training", time_training, CPU),
    Step("learning", "An agent that learns", learn, CPU),
    Step("seeds", "Many seeds that learn at once", learn_at_once, CPU),
    Step(
        "tf32",
        "Many seeds that learn at once in TF32",
        partial(learn_at_once, tf32=True),
        f"{CPU}, in single precision",
    ),
)


@dataclass(frozen=True)
class GpuCheck:
    """Check and measure on a GPU.

    Attributes:
        dry_run: take every step without a GPU, at a small scale.
        out: file for the report.
        only: steps to take: launch, trajectories, cells, determinism, captured, stacked, envs,
            train, learning, seeds, tf32.
    """

    dry_run: bool = False
    out: Path = Path("gpu-check.md")
    only: tuple[str, ...] = ()

    def run(self) -> bool:
        """Take the steps, rewriting the report after each; returns whether all hold."""
        names = [step.name for step in STEPS]
        for name in self.only:
            check_choice("step", name, names)
        check_writable(self.out)
        if not self.dry_run and not torch.cuda.is_available():
            raise UsageError("there is no CUDA device here: nothing was checked; try --dry-run")
        scale, done = DRY if self.dry_run else GPU, []
        for step in STEPS:
            if not self.only or step.name in self.only:
                print(f"{step.title} ...", flush=True)
                done.append((take if self.dry_run else take_apart)(step, scale))
                write_text(self.out, write_up(done, scale))
                print(f"{'holds' if done[-1].holds else 'FAILED'}", flush=True)
        print(f"the report is {self.out}")
        return all(each.holds for each in done)


def main() -> int:
    """Run the command; returns the exit code."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # or cuBLAS is not deterministic
    try:
        return 0 if tyro.cli(GpuCheck).run() else 1
    except UsageError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
