"""Many runs, some at a time, each in a process of its own: the command line's own ``train``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from ..config import RunConfig
from ..errors import UsageError
from ..files import write_json
from ..runs import CONFIG, Run, load_run


def train_all(
    program: Path, imported: Sequence[Path], jobs: int, configs: Sequence[RunConfig]
) -> list[Run]:
    """The runs of some configurations; those that are not finished are trained.

    Args:
        program: the file of the command line.
        imported: files of one's own that it imports.
        jobs: how many at a time.
        configs: of the runs.

    Raises:
        UsageError: one of them failed; the message has its last line.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        work = partial(_train, program, imported, Path(folder))
        waiting = [pool.submit(work, number, config) for number, config in enumerate(configs)]
        try:
            for n, done in enumerate(as_completed(waiting), 1):
                print(f"{n}/{len(waiting)}  {done.result()}", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [load_run(config.run.out) for config in configs]


def _train(
    program: Path, imported: Sequence[Path], folder: Path, number: int, config: RunConfig
) -> str:
    """Finish the run, or begin it; one line on how it went."""
    out = config.run.out
    if (Path(out) / CONFIG).exists():
        task = ["resume", out]
    else:
        file = folder / f"{number}.json"
        write_json(file, config.as_json())
        task = ["train", "--config", str(file)]
    flags = ["--import", *map(str, imported)] if imported else []
    done = subprocess.run(
        [sys.executable, str(program), *task, *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    if done.returncode:
        raise UsageError(f"{out}: {(done.stderr.strip() or 'it was ended').splitlines()[-1]}")
    ends = [line for line in done.stdout.splitlines() if "success rate" in line]
    return f"{out}: {ends[-1]}"
