"""The command line in a separate process, free of other tests' levels and words. It is forked from
one that has imported everything and run nothing, since importing PyTorch takes seconds.
"""

import os
import subprocess
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from run import main

ROOT = Path(__file__).parent.parent
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["run"])


def succeed(*words):
    """Run a command, which must succeed."""
    done = run(*words)
    assert done.returncode == 0, done.stderr


def run(*words):
    """Run a command; returns how it ended."""
    said = [str(word) for word in words]
    with TemporaryDirectory() as folder:
        out, errors = (Path(folder) / name for name in ("out", "errors"))
        process = FORKS.Process(target=_run, args=(said, out, errors))
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            said, process.exitcode, out.read_text(), errors.read_text()
        )


def _run(words, out, errors):
    os.chdir(ROOT)
    for number, path in ((1, out), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    raise SystemExit(main(words))
