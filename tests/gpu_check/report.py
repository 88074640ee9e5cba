"""Steps, their outcomes, and the report in Markdown."""

from __future__ import annotations

import multiprocessing
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass, field

import torch

from metarims.studies.race import installed_version

from .scale import Scale

PACKAGES = ("torch", "triton", "numba", "numba-cuda", "navix", "xminigrid", "jax")


@dataclass(frozen=True)
class Outcome:
    """What a step found: whether its requirement holds, and lines of Markdown."""

    holds: bool
    lines: list[str]


@dataclass(frozen=True)
class Step:
    """A check or a measurement.

    Attributes:
        name: as in `--only`.
        title: as in the report.
        run: runs it.
        stand_in: what stands in for a GPU in a dry run.
    """

    name: str
    title: str
    run: Callable[[Scale], Outcome]
    stand_in: str


@dataclass(frozen=True)
class Done:
    """A step that was taken: its outcome, the error if it raised one, and its seconds."""

    step: Step
    outcome: Outcome
    seconds: float
    error: str = field(default="")

    @property
    def holds(self) -> bool:
        """Whether it ran and its requirement holds."""
        return not self.error and self.outcome.holds


def take(step: Step, scale: Scale) -> Done:
    """Take a step; an exception becomes its outcome."""
    start = time.perf_counter()
    try:
        outcome, error = step.run(scale), ""
    except Exception as raised:
        traceback.print_exc()
        outcome = Outcome(False, [])
        error = in_a_line(raised)
    return Done(step, outcome, time.perf_counter() - start, error)


def take_apart(step: Step, scale: Scale) -> Done:
    """Take a step in a separate process, which it may crash: a failed capture leaves PyTorch's
    generators unusable.
    """
    context = multiprocessing.get_context("spawn")
    start = time.perf_counter()
    try:
        with ProcessPoolExecutor(1, context) as pool:
            return pool.submit(take, step, scale).result()
    except BrokenExecutor as error:
        return Done(step, Outcome(False, []), time.perf_counter() - start, in_a_line(error))


def in_a_line(error: Exception) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def write_up(done: Sequence[Done], scale: Scale) -> str:
    """The report, one section per step."""
    lines = [f"# {'A dry run without a GPU' if scale.dry else machine()}", ""]
    lines += [f"{versions()}.", ""]
    for each in done:
        verdict = "holds" if each.holds else "FAILED"
        lines += [f"## {each.step.title}: {verdict}", ""]
        if scale.dry:
            lines += [f"In place of a GPU: {each.step.stand_in}.", ""]
        lines += [f"`{each.error}`", ""] if each.error else [*each.outcome.lines, ""]
        lines += [f"({each.seconds:.0f} s)", ""]
    return "\n".join(lines)


def machine() -> str:
    """The GPU, its memory and its driver."""
    gpu = torch.cuda.get_device_properties(0)
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    return f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, driver {driver}"


def versions() -> str:
    """The versions of Python and of the relevant packages that are installed."""
    found = [(package, installed_version(package)) for package in PACKAGES]
    named = [f"{package} {version}" for package, version in found if version]
    return ", ".join([f"Python {platform.python_version()}", *named])
