"""One run as several ranks on this machine: processes of the command line, as torchrun's."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import UsageError
from ..ranks import RANK, SIZE
from ..stopping import Stopped, serving

PATIENCE = 30.0  # seconds for a process to end when asked to
GLANCE = 0.1  # seconds between looks at the processes


def launch(program: Path, arguments: Sequence[str], ranks: int) -> None:
    """Run a command as several ranks; the first one's output is shown.

    Raises:
        UsageError: a rank failed, so all were ended; the message has its last line.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        errors = [folder / str(rank) for rank in range(ranks)]
        port = free_port()
        workers = [
            stack.enter_context(worker(program, arguments, rank, ranks, port, errors[rank]))
            for rank in range(ranks)
        ]
        try:
            while any(each.poll() is None for each in workers):
                check(workers, errors)
                time.sleep(GLANCE)
        except Stopped:
            for each in workers:  # signal all of them before waiting for any
                each.terminate()
            raise
        check(workers, errors)


@contextmanager
def worker(
    program: Path, arguments: Sequence[str], rank: int, ranks: int, port: int, errors: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """One rank's process, ended when the context is left."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env={**serving(), **place, RANK: str(rank), SIZE: str(ranks)},
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,  # Ctrl-C reaches this process, which tells all others
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check(workers: Sequence[subprocess.Popen[bytes]], errors: Sequence[Path]) -> None:
    """Raise if a rank has failed."""
    failed = [rank for rank, each in enumerate(workers) if each.poll()]
    if not failed:
        return
    said = [errors[rank].read_text(errors="replace").strip().splitlines()[-1:] for rank in failed]
    lines = [line.removeprefix("run.py: ") for last in said for line in last]
    rank, code = failed[0], workers[failed[0]].returncode
    raise UsageError(lines[0] if lines else f"rank {rank} exited with code {code}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
