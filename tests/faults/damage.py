"""Faults of the disk: writes that fail or are cut off, and files that are not what was written."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from metarims.checkpoint import MANIFEST, TENSORS, checkpoints
from metarims.runs import load_run

from .lives import call, differences, fork, training

BEFORE, AFTER = 4, 5  # iterations of the run before a fault, and in all
FRAMES = 8 * 20  # of an iteration
WRITES = ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "open")  # of os
Damage = Callable[[Path, random.Random], None]


def flip(path: Path, chance: random.Random) -> None:
    """One bit."""
    data = bytearray(path.read_bytes() or b"\0")
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    """The end is missing."""
    os.truncate(path, chance.randrange(path.stat().st_size or 1))


def empty(path: Path, _: random.Random) -> None:
    """Nothing is left."""
    path.write_bytes(b"")


def blank(path: Path, _: random.Random) -> None:
    """Zeros, as some file systems leave after a power cut."""
    path.write_bytes(bytes(path.stat().st_size))


def lengthen(path: Path, chance: random.Random) -> None:
    """Something else follows."""
    path.write_bytes(path.read_bytes() + chance.randbytes(50))


def remove(path: Path, _: random.Random) -> None:
    """It is not there."""
    path.unlink()


def replace(path: Path, _: random.Random) -> None:
    """A folder is in its place."""
    path.unlink()
    path.mkdir()


DAMAGES: Sequence[Damage] = (flip, flip, flip, cut, cut, empty, blank, lengthen, remove, replace)


def files(run: Path) -> list[Path]:
    """Every file of a run; of the checkpoints those of the newest two."""
    newest = [run / "checkpoints" / name for name in checkpoints(run / "checkpoints")[-2:]]
    parts = [folder / name for folder in newest for name in (TENSORS, MANIFEST)]
    return [*sorted(path for path in run.iterdir() if path.is_file()), *parts]


def faults(writes: int = 25, fillings: int = 25, seed: int = 0, few: bool = False) -> int:
    """Inject faults into a run, resume it, and compare it with the uninterrupted one.

    Args:
        writes: kills in the middle of writing, and limits of a file's size, so many of each.
        fillings: disks that are full, a small tmpfs where one may be mounted.
        seed: of what is random.
        few: one random damage of each file, and not ten.
    """
    chance, wrong, count = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        run, whole = Path(folder) / "run", Path(folder) / "whole"
        for path, iterations in ((run, BEFORE), (whole, AFTER)):
            log = Path(folder) / "log"
            assert fork(training("lstm", path, iterations * FRAMES, small=True), log).end() == 0
        tries = [partial(cut_off, at) for at in spread(1, 120, writes)]
        tries += [partial(limited, size * size) for size in spread(0, 1100, writes)]  # bytes
        fillings = fillings if can_mount() else 0
        tries += [partial(filled, left) for left in spread(0, 1200, fillings)]  # KB
        for number in range(len(files(run))):
            some = [chance.choice(DAMAGES)] if few else DAMAGES
            tries += [partial(damaged, number, damage, chance) for damage in some]
        for each in tries:
            name = f"{each.func.__name__}{each.args[:2]}"
            count += 1
            other = Path(folder) / f"fault-{count}"
            shutil.copytree(run, other)
            try:
                found = list(each(other, whole))
            except Exception:
                found = [traceback.format_exc()]
            wrong += bool(found)
            print("\n  ".join([f"{count:4} {name}: {'wrong' if found else 'right'}", *found]))
    print(f"{count} faults, {wrong} of them not got over")
    return int(wrong > 0)


def spread(low: int, high: int, count: int) -> list[int]:
    """So many numbers from one to another."""
    return [low + (high - low) * i // max(count - 1, 1) for i in range(count)]


def resuming(run: Path) -> list[str]:
    """The command that goes on to the end."""
    return ["resume", str(run), "--frames", str(AFTER * FRAMES)]


def clocks(run: Path) -> list[float]:
    """When each iteration ended, which tells those that were trained anew from the others."""
    return [row["time/time_elapsed"] for row in load_run(run).metrics()]


def goes_on(other: Path, whole: Path) -> Iterator[str]:
    """What is wrong where it should go on, and not from the start."""
    before = clocks(other)
    said = call(resuming(other))
    if said.code or said.errors:
        yield f"exit code {said.code}: {said.errors}"
        return
    if clocks(other)[0] != before[0]:
        yield "it was begun again"
    yield from differences(whole, other)


def cut_off(at: int, other: Path, whole: Path) -> Iterator[str]:
    """Kill it before the `at`-th call that changes the disk, or in the middle of what it writes."""

    def before() -> None:
        left = [at]

        def dying(function: Callable[..., object], *args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        def torn(path: Path, data: bytes) -> int:
            left[0] -= 1
            with path.open("wb") as file:
                file.write(data[: len(data) // 2] if left[0] == 0 else data)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return len(data)

        for name in WRITES:
            setattr(os, name, partial(dying, getattr(os, name)))
        Path.write_bytes = torn  # type: ignore[assignment,method-assign]

    log = other.with_name("log")
    code = fork(resuming(other), log, before).end()
    if code not in (0, -9):
        yield f"exit code {code}: {log.read_text()}"
    yield from goes_on(other, whole)


def limited(size: int, other: Path, whole: Path) -> Iterator[str]:
    """No file may grow beyond `size`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        said = call(resuming(other))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    print(f"     at most {size:,} bytes: {said.errors.strip()}")
    if said.fault:
        yield said.fault
    yield from goes_on(other, whole)


def can_mount() -> bool:
    """Whether this user may mount a disk of memory."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True)
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return mounted.returncode == 0


@contextlib.contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A small disk in the place of a folder."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def filled(left: int, other: Path, whole: Path) -> Iterator[str]:
    """The disk has `left` kilobytes left."""
    there = other.with_name("disk")
    with disk(there, 4096):
        run, filling = there / "run", there / "filling"
        shutil.copytree(other, run)
        with filling.open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        os.truncate(filling, max(filling.stat().st_size - 1024 * left, 0))
        said = call(resuming(run))
        print(f"     {left} KB left: {said.errors.strip()}")
        if said.fault:
            yield said.fault
        filling.unlink()
        yield from goes_on(run, whole)


def damaged(
    number: int, damage: Damage, chance: random.Random, other: Path, whole: Path
) -> Iterator[str]:
    """One file is not what was written: it goes on from a whole checkpoint, or says why not."""
    path = files(other)[number]
    of_checkpoint, newest = (
        path.parent.parent.name == "checkpoints",
        number >= len(files(other)) - 2,
    )
    before = clocks(other)
    damage(path, chance)
    said = call(resuming(other))
    print(f"     {path.relative_to(other)}: {(said.errors or noted(said.out)).strip()}")
    if said.fault or said.code:
        if said.fault or of_checkpoint:
            yield said.fault or said.errors
        return
    if of_checkpoint and newest and "note " not in said.out:
        yield "a damaged checkpoint was passed over without a word"
    own = path.name.startswith(("metrics", "events"))
    if not own and clocks(other)[0] != before[0]:
        yield "it was begun again"
    yield from differences(whole, other, curves=not own)


def noted(out: str) -> str:
    """The notes among what was said."""
    return " ".join(line for line in out.splitlines() if line.startswith("note "))
