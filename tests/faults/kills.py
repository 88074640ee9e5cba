"""``kill -9`` at random moments of a run, which is resumed each time."""

from __future__ import annotations

import fcntl
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from metarims.runs import LOCK

from .lives import Life, begin, differences, fork, training


def kills(
    agents: tuple[str, ...] = ("metarims", "lstm", "routing"),
    count: int = 30,
    iterations: int = 40,
    ranks: int = 1,
    seed: int = 0,
    small: bool = False,
    forked: bool = False,
) -> int:
    """Kill runs at random moments, resume them each time, and compare with uninterrupted ones.

    Args:
        agents: presets, a run each.
        count: kills of each run.
        iterations: of each run.
        ranks: processes that train it; any one of them, or the one that began them, is killed.
        seed: of the moments.
        small: whether the agents are small ones.
        forked: whether the processes are copies of this one, which saves their imports.
    """
    wrong = 0
    for agent in agents:
        with tempfile.TemporaryDirectory() as folder:
            found = list(killed(agent, Path(folder), count, iterations, ranks, seed, small, forked))
        wrong += len(found)
        print("\n".join([f"{agent}: {len(found)} differences", *found]), flush=True)
    return int(wrong > 0)


def killed(
    agent: str,
    folder: Path,
    count: int,
    iterations: int,
    ranks: int,
    seed: int,
    small: bool,
    forked: bool,
) -> Iterator[str]:
    """Kill one run; in what it differs from the uninterrupted one, or how it failed."""
    start: Callable[[list[str], Path], Life] = fork if forked else begin
    frames = iterations * 8 * (20 if small else 80)
    several = ["--ranks", str(ranks)] if ranks > 1 else []
    whole, other, log = folder / "whole", folder / "other", folder / "log"
    begun = time.monotonic()
    life = start([*training(agent, whole, frames, small), *several], log)
    while not (whole / "metrics.jsonl").exists() and life.is_there():
        time.sleep(0.01)
    first = time.monotonic() - begun
    if life.end():
        yield log.read_text()
        return
    each = (time.monotonic() - begun - first) / iterations
    chance, hits, at = random.Random(seed), 0, []
    while hits < count:
        life = start(words(agent, other, frames, small, several), log)
        await_moment(chance, other, first, each, (iterations - 2) / count)
        victim = chance.choice([life.pid, *workers(life.pid)])
        Life(victim, log).kill()
        code = life.end()
        if code not in (-9, 0, 2) or "Traceback" in log.read_text():
            yield f"exit code {code}: {log.read_text()}"
            return
        if code == 0:  # it was done before
            break
        hits += 1
        wait_for_lock(other)
        at.append(done(other))
    if start(words(agent, other, frames, small, several), log).end():
        yield log.read_text()
    print(f"{agent}: {hits} kills, after so many iterations: {' '.join(map(str, at))}")
    yield from differences(whole, other)


def await_moment(
    chance: random.Random, run: Path, first: float, each: float, progress: float
) -> None:
    """Wait for a random moment: while the run is set up, or after some more iterations.

    Args:
        chance: decides.
        run: the run's folder.
        first: seconds that the first iteration takes to come.
        each: seconds of any other.
        progress: iterations that may pass, in the mean.
    """
    early, more = chance.random() < 0.3, int(chance.uniform(0, 2 * progress))
    end = done(run) + (1 if early else more)
    until = time.monotonic() + (chance.uniform(0, first) if early else 600)
    while done(run) < end and time.monotonic() < until:
        time.sleep(each / 20)
    time.sleep(0 if early else chance.uniform(0, each))


def done(run: Path) -> int:
    """The iterations that are done."""
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def words(agent: str, out: Path, frames: int, small: bool, several: list[str]) -> list[str]:
    """What a user would say next."""
    if (out / "config.json").exists():
        return ["resume", str(out), *several]
    return [*training(agent, out, frames, small), *several]


def workers(pid: int) -> list[int]:
    """The processes that a process began, where the system tells."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(each) for each in file.read_text().split()] if file.exists() else []


def wait_for_lock(run: Path) -> None:
    """Until ranks whose command was killed have noticed it and ended."""
    if (run / LOCK).exists():
        with (run / LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
