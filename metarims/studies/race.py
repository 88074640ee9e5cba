"""Throughput of contenders, timed in turn in one run.

Every contender has a process of its own, which is made ready before anything is timed. Then all are
timed in turn, for several rounds, so that disturbances of the machine affect everyone.
"""

from __future__ import annotations

import importlib.metadata
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

Burst = Callable[[], int]  # does some work, returns its number of steps or frames
Timer = Callable[[Burst, float], float]  # a burst's rate over at least the given seconds
Start = tuple[int, Burst] | None  # a batch size and its burst; None if unable


class Contender(Protocol):
    """A participant in a race.

    Attributes:
        name, version, level: as shown in the table.
        prepare: called in a process of its own; may time bursts to choose how to run.
    """

    @property
    def name(self) -> str:
        """As shown in the table."""

    @property
    def version(self) -> str:
        """The version of its package."""

    @property
    def level(self) -> str:
        """The level that it runs on."""

    @property
    def prepare(self) -> Callable[[Timer], Start]:
        """Prepares it; see above."""


@dataclass(frozen=True)
class Entry:
    """A `Contender`."""

    name: str
    version: str
    level: str
    prepare: Callable[[Timer], Start]


@dataclass(frozen=True)
class Speed:
    """A contender's speed on a level: each round's steps per second."""

    level: str
    name: str
    version: str
    num_envs: int
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Steps per second in the median round."""
        return statistics.median(self.rounds)


def installed_version(package: str) -> str:
    """A package's version, "" if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def time_burst(burst: Burst, seconds: float) -> float:
    """Steps per second over at least ``seconds``."""
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        steps += burst()
    return steps / elapsed


def serve(pipe: Connection, prepare: Callable[[Timer], Start]) -> None:
    """Prepare and send the batch size, 0 if unable; then a rate for each duration received."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # upstream prints in resets
        size, burst = prepare(time_burst) or (0, None)
        pipe.send(size)
        while burst is not None and (seconds := pipe.recv()):
            pipe.send(time_burst(burst, seconds))


class _Worker:
    """A contender's process, the pipe to it, and its measurements so far."""

    def __init__(self, contender: Contender) -> None:
        """Start the process and wait until it is ready."""
        context = multiprocessing.get_context("spawn")
        self.contender, self.rounds = contender, list[float]()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, contender.prepare))
        self.process.start()
        theirs.close()
        try:
            self.num_envs = self.pipe.recv()
        except EOFError:  # the process failed; its traceback is on stderr
            self.num_envs = 0

    def time(self, seconds: float) -> None:
        """Run one round."""
        self.pipe.send(seconds)
        self.rounds.append(self.pipe.recv())

    def close(self) -> None:
        """End the process, by sending it a duration of 0."""
        if self.num_envs and self.process.is_alive():
            self.pipe.send(0.0)
        self.process.join()


def race(contenders: Sequence[Contender], seconds: float, rounds: int) -> list[Speed]:
    """Time the contenders in turn, ``rounds`` times; those that cannot run are left out."""
    with ExitStack() as stack:
        workers = []
        for contender in contenders:
            workers.append(_Worker(contender))
            stack.callback(workers[-1].close)
        able = [worker for worker in workers if worker.num_envs]
        for _ in range(rounds):
            for worker in able:
                worker.time(seconds)
    return [
        Speed(w.contender.level, w.contender.name, w.contender.version, w.num_envs, tuple(w.rounds))
        for w in able
    ]


def ratios(speeds: Sequence[Speed], reference: str) -> list[float]:
    """Each speed over the reference's on the same level; NaN if that was not measured."""
    known = {speed.level: speed.median for speed in speeds if speed.name == reference}
    return [speed.median / known.get(speed.level, math.nan) for speed in speeds]


def table(speeds: Sequence[Speed], title: str, ratios: Sequence[float]) -> str:
    """The measurements as text, with the ratios in a last column called `title`."""
    lines = [
        f"{'level':28}{'name':16}{'version':>10}{'envs':>8}{'per second':>14}"
        f"{'min':>14}{'max':>14}{title:>14}"
    ]
    for speed, ratio in zip(speeds, ratios, strict=True):
        lines.append(
            f"{speed.level:28}{speed.name:16}{speed.version:>10}{speed.num_envs:>8}"
            f"{speed.median:>14,.0f}{min(speed.rounds):>14,.0f}{max(speed.rounds):>14,.0f}"
            f"{'' if math.isnan(ratio) else f'{ratio:,.1f} x':>14}"
        )
    return "\n".join(lines)


def as_json(speeds: Sequence[Speed]) -> list[dict[str, object]]:
    """The measurements as dictionaries of plain values."""
    return [
        {
            "level": speed.level,
            "name": speed.name,
            "version": speed.version,
            "num_envs": speed.num_envs,
            "steps_per_second": speed.median,
            "rounds": list(speed.rounds),
        }
        for speed in speeds
    ]


def shares_line(name: str, shares: Mapping[str, float]) -> str:
    """Where a preset's or a cell's time goes."""
    return f"{name}'s time: {', '.join(f'{part} {share:.0%}' for part, share in shares.items())}"
