"""Files that are written whole or not at all: aside, flushed to the disk, and then renamed."""

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
    """A path beside `path`, for a file or a folder, that takes its place when all went well.

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
    """Write a file whole or not at all; `UsageError` where the system refuses."""
    with aside(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a file whole or not at all; `UsageError` where the system refuses."""
    write_bytes(path, content.encode())


def write_json(path: Path | None, content: object) -> None:
    """Write what JSON can hold, if there is a path; null stands for infinity and NaN."""
    if path is not None:
        write_text(path, json.dumps(_finite(content), indent=1) + "\n")


def append_line(path: Path, line: str) -> None:
    """Add a line to a file; `UsageError` where the system refuses."""
    with refusals(path), path.open("a") as file:
        file.write(line + "\n")


def flush(path: Path) -> None:
    """Make what a file holds last, if it is there."""
    if path.exists():
        with refusals(path):
            _flush(path)


def clear_aside(folder: Path) -> None:
    """Remove what killed processes left aside in a folder."""
    for left in folder.glob(".*.aside"):
        with refusals(left):
            _remove(left)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """`UsageError` where the system refuses what is written to a file, or below a folder."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror or error}") from None


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Whether nobody else holds a file, which is made; within it nobody else does."""
    with refusals(path):
        file = path.open("a")
    with file:
        yield _lock(file, wait)


def _lock(file: IO[str], wait: bool) -> bool:
    """Whether a file is held from now on, which nobody else does."""
    with refusals(Path(file.name)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


def make_folder(path: Path) -> Path:
    """Make a folder and those above it; `UsageError` where it is a file or the system refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}") from None
    return path


def check_writable(path: Path | None) -> None:
    """Refuse a file in a folder that is not there before any work is done."""
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
    """Make a file's content, or a folder's entries, last."""
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
