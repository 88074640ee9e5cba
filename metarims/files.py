"""Files written completely or not at all: to a temporary path, flushed to disk, then renamed."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import UsageError


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A temporary path next to `path`, for a file or a folder that replaces it on success.

    Raises:
        UsageError: the system refuses (no space, no permission, no such folder).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.aside")
    _remove(temporary)
    try:
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _flush(written)
        if temporary.is_dir():
            _remove(path)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        _remove(temporary)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all; `UsageError` if the system refuses."""
    with aside(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a file completely or not at all; `UsageError` if the system refuses."""
    write_bytes(path, content.encode())


def write_json(path: Path | None, content: object) -> None:
    """Write JSON, if there is a path; infinity and NaN become null."""
    if path is not None:
        write_text(path, json.dumps(_finite(content), indent=1) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append a line to a file; `UsageError` if the system refuses."""
    with refusals(path), path.open("a") as file:
        file.write(line + "\n")


def flush(path: Path) -> None:
    """Flush a file to disk, if it exists."""
    if path.exists():
        with refusals(path):
            _flush(path)


def left_aside(folder: Path) -> set[Path]:
    """Temporary files in a folder; if nobody is writing to it, killed processes left them."""
    return {*folder.glob(".*.aside")}


def clear_aside(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder."""
    for left in left_aside(folder):
        with refusals(left):
            _remove(left)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """`UsageError` if the system refuses to write to a file or below a folder."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror or error}") from None


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Lock a file, creating it if missing; yields whether that succeeded (with `wait`, always)."""
    with refusals(path):
        file = path.open("a")
    with file:
        yield _lock(file, wait)


def _lock(file: IO[str], wait: bool) -> bool:
    """Lock an open file; whether that succeeded."""
    with refusals(Path(file.name)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


def make_folder(path: Path) -> Path:
    """Make a folder and its parents; `UsageError` if it is a file or the system refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}") from None
    return path


def check_writable(path: Path | None) -> None:
    """Refuse, before any work is done, a file in a missing folder or one that is a folder."""
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
    if path is not None and path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder")


def _finite(content: object) -> object:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


def _flush(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
