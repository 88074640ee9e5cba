"""Lives of the command line: processes that are begun, watched and cut off."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarims.checkpoint import BEST, Checkpoint, best_checkpoint, checkpoints, load_checkpoint
from run import main

ROOT = Path(__file__).parents[2]
logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of each resumption

CLOCK = {"time/fps", "time/time_elapsed"}
LEVEL = "MiniGrid-Empty-5x5-v0"
SHORT = ["--encoder.features", "16", "--fast.epochs", "1", "--fast.minibatches", "2"]
SMALL = {
    "lstm": [*SHORT, "--core.hidden", "8", "--fast.span", "10", "--steps", "20"],
    "routing": [*SHORT, "--fast.span", "10", "--steps", "20"],
    "metarims": [
        *SHORT, "--core.hidden", "8", "--fast.span", "10", "--slow.span", "20", "--steps", "20",
        "--slow.epochs", "1", "--slow.minibatches", "1",
    ],
}  # fmt: skip


def training(agent: str, out: Path, frames: int, small: bool = False) -> list[str]:
    """The arguments of a run that keeps every iteration."""
    words = ["train", "--agent", agent, "--env", LEVEL, "--num-envs", "8", "--device", "cpu"]
    words += ["--frames", str(frames), "--checkpoint-frames", "1", "--out", str(out)]
    return [*words, *(SMALL[agent] if small else [])]


@dataclass
class Life:
    """A process that runs one command."""

    pid: int
    log: Path

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def is_there(self) -> bool:
        """Whether it has not ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def end(self, patience: float = 600) -> int:
        """Wait for it; its exit code, a signal's number below 0."""
        until = time.monotonic() + patience
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError(self.log.read_text())
            time.sleep(0.01)


def begin(args: Sequence[str], log: Path) -> Life:
    """A process of its own, as a user would start it."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-u", "run.py", *args],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    process.returncode = 0  # whoever has its number waits for it
    return Life(process.pid, log)


def fork(args: Sequence[str], log: Path, before: Callable[[], None] = lambda: None) -> Life:
    """A copy of this process, which has imported everything and should have done nothing else."""
    pid = os.fork()
    if pid:
        return Life(pid, log)
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        torch.set_num_threads(1)
        before()
        code = main(args)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@dataclass(frozen=True)
class Said:
    """How a command that ran in this process ended."""

    code: int
    out: str
    errors: str

    @property
    def fault(self) -> str:
        """What is wrong with that; "" where it is valid or bad input in one line."""
        lines = self.errors.splitlines()
        if self.code == 0:
            return self.errors
        if self.code != 2:
            return f"exit code {self.code}"
        alone = len(lines) == 1 and lines[0].startswith("run.py: ")
        return "" if alone else f"not one line: {self.errors!r}"


def call(args: Sequence[str]) -> Said:
    """Run a command in this process; what it raises comes through."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = main(list(args))
        except SystemExit as end:
            code = int(end.code or 0)
    return Said(code, out.getvalue(), errors.getvalue())


def rows(run: Path) -> list[dict[str, float]]:
    """metrics.jsonl without what the clock decides."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name not in CLOCK} for row in lines]


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run, without what the clock decides."""
    events = EventAccumulator(str(run), {"scalars": 0})
    events.Reload()
    return {
        name: [(each.step, each.value) for each in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if name not in CLOCK
    }


def differences(whole: Path, other: Path, curves: bool = True) -> Iterator[str]:
    """In what a run differs from the uninterrupted one, the curves of metrics.jsonl and
    TensorBoard included or not.
    """
    names = [checkpoints(run / "checkpoints") for run in (whole, other)]
    if names[0] != names[1]:
        yield f"checkpoints {names[1]}, and not {names[0]}"
    best = [BEST] if best_checkpoint(whole / "checkpoints") else []
    for which in ["", *best]:
        pair = [load_checkpoint(run / "checkpoints", which) for run in (whole, other)]
        yield from (f"checkpoint {which or 'newest'}: {each}" for each in _differ(*pair))
    if curves and rows(whole) != rows(other):
        yield "metrics.jsonl"
    if curves and repr(scalars(whole)) != repr(scalars(other)):
        yield "TensorBoard's scalars"
    yield from (f"left behind: {path}" for path in other.rglob(".*.aside"))


def _differ(one: Checkpoint, two: Checkpoint) -> Iterator[str]:
    if one.tensors.keys() != two.tensors.keys():
        yield "other tensors"
        return
    for name, tensor in one.tensors.items():
        if not torch.equal(_bytes(tensor), _bytes(two.tensors[name])):
            yield name
    for name in one.numbers.keys() - {"seconds"}:
        if one.numbers[name] != two.numbers[name]:
            yield name


def _bytes(tensor: torch.Tensor) -> Any:
    return tensor.contiguous().view(-1).view(torch.uint8)
