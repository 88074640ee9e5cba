"""Many runs, several at a time, each in a process with the command line's own ``train``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..checkpoint import checkpoints
from ..config import RunConfig
from ..errors import UsageError
from ..files import write_json
from ..runs import CHECKPOINTS, CONFIG, Row, Run, find_run, load_run
from ..status import status_line
from ..stopping import serving, told_to_repeat
from ..tally import has_learnt
from .transfer import read_scores

GLANCE = 0.5  # seconds between looks at how far the runs are


def train_all(
    program: Path, imported: Sequence[Path], jobs: int, configs: Sequence[RunConfig]
) -> list[Run]:
    """The runs of some configurations; those that are unfinished are trained.

    Args:
        program: path of the command line.
        imported: the user's files that it imports.
        jobs: runs at a time.
        configs: the runs'.

    Raises:
        UsageError: one of them cannot go on as its configuration asks, or some have failed and the
            others are done; the message has the last line of each.
    """
    for config in configs:
        find_run(config)
    with workers(jobs) as (pool, stop):
        work = partial(train_one, program, imported, stop.is_set)
        overview = _overviewer(configs)
        _watch([pool.submit(work, config) for config in configs], overview)
    return [load_run(config.run.out) for config in configs]


def evaluate_all(
    program: Path,
    imported: Sequence[Path],
    jobs: int,
    wanted: Mapping[Path, tuple[Run, Sequence[str]]],
) -> None:
    """Evaluate runs zero-shot, unless they have been and the file is whole; prints a line for each.

    Args:
        program: path of the command line.
        imported: the user's files that it imports.
        jobs: evaluations at a time.
        wanted: by JSON file for the results, a run and the flags for `evaluate`.

    Raises:
        UsageError: some have failed and the others are done; the message has the last line of each.
    """
    missing = [file for file, (run, _) in wanted.items() if not _is_whole(file, run)]
    with workers(jobs) as (pool, stop):
        work = partial(_evaluate, program, imported, stop.is_set)
        waiting = [pool.submit(work, file, *wanted[file]) for file in missing]
        _watch(waiting, lambda ended: f"{len(ended)}/{len(missing)} evaluations")


def _is_whole(file: Path, run: Run) -> bool:
    """Whether a run's evaluation is there and can be read."""
    try:
        return bool(read_scores(file, run))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


@contextmanager
def workers(jobs: int) -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """A pool of threads, and an event that stops their work; an exception within sets it."""
    stop = threading.Event()
    with told_to_repeat(), ThreadPoolExecutor(jobs) as pool:
        try:
            yield pool, stop
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _evaluate(
    program: Path,
    imported: Sequence[Path],
    stopped: Callable[[], bool],
    file: Path,
    run: Run,
    flags: Sequence[str],
) -> str:
    """Evaluate one run into the file; returns a line on it."""
    words = ["evaluate", str(run.path), *flags, "--json", str(file)]
    _call(program, imported, stopped, words, str(run.path))
    return f"{run.path}: evaluated"


def _watch(waiting: Sequence[Future[str]], overview: Callable[[set[int]], str]) -> None:
    """Show progress until all are done, given those that have ended; prints a line for each.

    Raises:
        UsageError: some have failed; the message names them all.
    """
    ended, faults = set[int](), list[str]()
    with status_line() as status:
        while len(ended) < len(waiting):
            time.sleep(GLANCE)
            for number, each in enumerate(waiting):
                if each.done() and number not in ended:
                    ended.add(number)
                    line, failed = _outcome(each)
                    faults += [line] if failed else []
                    status.say(f"{len(ended)}/{len(waiting)}  {line}")
            status.show(lambda: overview(ended))
    if faults:
        raise UsageError("; ".join(faults))


def _outcome(done: Future[str]) -> tuple[str, bool]:
    """The line on what was done, and whether it says why that failed."""
    try:
        return done.result(), False
    except UsageError as error:
        return str(error), True


def _overviewer(configs: Sequence[RunConfig]) -> Callable[[set[int]], str]:
    """A function that describes the runs' progress from now on, given those that have ended."""
    begun, first = time.monotonic(), sum(map(_frames, configs))
    return lambda ended: _overview(configs, ended, first, time.monotonic() - begun)


def _overview(configs: Sequence[RunConfig], done: set[int], first: int, seconds: float) -> str:
    """One line on all runs: frames out of at most how many, speed, and mean success rate so far."""
    seen = [_frames(config) for config in configs]
    most = [seen[i] if i in done else config.run.frames for i, config in enumerate(configs)]
    frames, total = sum(seen), sum(most)
    rates = [
        row["rollout/success_rate"]
        for row in map(last_row, configs)
        if "rollout/success_rate" in row
    ]
    success = f"{100 * sum(rates) / len(rates):.0f} %" if rates else "–"
    return (
        f"{len(done)}/{len(configs)} runs · {frames:,}/{total:,} frames · "
        f"{(frames - first) / max(seconds, 1e-9):,.0f}/s · success {success}"
    )


def _frames(config: RunConfig) -> int:
    return int(last_row(config).get("frames", 0))


def last_row(config: RunConfig) -> Row:
    """The last row of a run's metrics; empty if there is no run."""
    try:
        return load_run(config.run.out).last_metrics()
    except UsageError:
        return {}


def train_one(
    program: Path, imported: Sequence[Path], stopped: Callable[[], bool], config: RunConfig
) -> str:
    """Train a run to its end, resuming it if it has begun; returns a line on how it went.

    Args:
        program: path of the command line.
        imported: the user's files that it imports.
        stopped: asked now and then whether to stop the run, with a checkpoint.
        config: the run's.

    Raises:
        UsageError: it failed or was stopped; the message has its last line.
    """
    run, out = find_run(config), Path(config.run.out)
    if is_finished(config):
        return finished_before(config)
    with tempfile.TemporaryDirectory() as folder:
        if run is not None:
            with run.held():
                replace(run, config=config).record_plans()
            task = ["resume", str(out), "--device", config.run.device]
        else:
            file = Path(folder) / CONFIG
            write_json(file, config.as_json())
            task = ["train", "--config", str(file)]
        output = _call(program, imported, stopped, task, str(out))
    return f"{out}: {[line for line in output.splitlines() if 'success rate' in line][-1]}"


def import_flags(files: Sequence[Path]) -> list[str]:
    """Flags that import the same files in another process."""
    return ["--import", *map(str, files)] if files else []


def _call(
    program: Path,
    imported: Sequence[Path],
    stopped: Callable[[], bool],
    words: Sequence[str],
    about: str,
) -> str:
    """The output of a command; `UsageError` with its last line if it fails."""
    process = subprocess.Popen(
        [sys.executable, str(program), *words, *import_flags(imported)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**serving(), "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,  # Ctrl-C reaches this process, which tells all others
    )
    output, errors = _communicate(process, stopped)
    if process.returncode:
        last = (errors.strip() or "it was killed").splitlines()[-1]
        said = last.removeprefix(f"{program.name}: ")
        raise UsageError(
            said if said.startswith((f"{about}: ", f"{about} ")) else f"{about}: {said}"
        )
    return output


def finished_before(config: RunConfig) -> str:
    """One line on a run that was finished before."""
    return f"{Path(config.run.out)}: {_frames(config):,} frames, already finished"


def is_finished(config: RunConfig) -> bool:
    """Whether a run has reached its end, with a checkpoint there."""
    row, saved = last_row(config), checkpoints(Path(config.run.out) / CHECKPOINTS)
    if not saved or int(saved[-1]) != row.get("frames"):
        return False
    return row["frames"] >= config.run.frames or has_learnt(row, config.run.until)


def is_lost(config: RunConfig) -> bool:
    """Whether a run has given up because its gradients were not finite."""
    return last_row(config).get("train/nonfinite", 0) == 1 and not is_finished(config)


def _communicate(process: subprocess.Popen[str], stopped: Callable[[], bool]) -> tuple[str, str]:
    """A process's output, once it is done; it is terminated if all are to stop."""
    told = False
    while True:
        try:
            return process.communicate(timeout=GLANCE)
        except subprocess.TimeoutExpired:
            if stopped() and not told:
                process.terminate()
                told = True
