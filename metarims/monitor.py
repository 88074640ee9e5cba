"""What a run shows during training: TensorBoard, metrics.jsonl and a progress line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from .board import Board, Pictures
from .evaluation import EVALUATED
from .files import refusals
from .protocols import Agent
from .runs import Row, Run
from .status import PLAIN_EVERY
from .stopping import Stopped


@dataclass(frozen=True)
class Onlookers:
    """Callbacks that look at an agent during training, without affecting it.

    Attributes:
        draw: draws it at work.
        evaluate: evaluates it on other levels; figures by name.
    """

    draw: Callable[[Agent], Pictures] | None = None
    evaluate: Callable[[Agent], Row] | None = None


NOBODY = Onlookers()


class Monitor:
    """Writes each iteration's figures to the run's folder and, now and then, what onlookers see.

    Args:
        run: the run.
        agent: the agent being trained.
        begun_at: frames at the start.
        onlookers: callbacks.
    """

    def __init__(
        self, run: Run, agent: Agent, begun_at: int, onlookers: Onlookers = NOBODY
    ) -> None:
        self._run, self._agent, self._onlookers = run, agent, onlookers
        with refusals(run.path):
            self._board = Board(run, agent, begun_at)
        self._next_look = run.config.run.pictures or math.inf  # seconds since the start
        self._begun, self._at, self._looked = time.monotonic(), begun_at, False
        self._make_up()

    def _make_up(self) -> None:
        """Evaluate the agent now if that was due after its last iteration, but was stopped."""
        if self._onlookers.evaluate is None:
            return  # nothing to read the metrics for
        *before, at = [{"frames": 0.0}, *self._run.metrics()][-2:]
        due = self._is_due(at["frames"], sum(row["frames"] for row in before))
        if due and self._at == at["frames"] and not any(name.startswith(EVALUATED) for name in at):
            row = self._evaluated(at)
            self._run.amend_metrics(row)
            with refusals(self._run.path):
                self._board.add_scalars(row, self._at)

    def _is_due(self, frames: float, before: float) -> bool:
        """Whether an evaluation falls into an iteration."""
        every = self._run.config.evaluation.every
        return self._onlookers.evaluate is not None and frames // every > before // every

    def _evaluated(self, row: Row) -> Row:
        """A row with an evaluation's figures."""
        evaluate = self._onlookers.evaluate
        return row | evaluate(self._agent) if evaluate else row

    def report(self, row: Row, last: bool = False) -> None:
        """Record one iteration, the last one if `last`: its figures by name, and ``frames``, the
        frames so far.
        """
        frames = int(row["frames"])
        if last:
            row = self._evaluated(row)
        elif self._is_due(frames, self._at):
            with suppress(Stopped):  # the run is saved, and evaluated when it goes on
                row = self._evaluated(row)
        with refusals(self._run.path):
            self._board.add_scalars(row, frames)
        self._run.write_metrics(row)
        self._at, self._looked = frames, False
        if not last:
            self.look()

    def look(self, last: bool = False) -> None:
        """Draw the agent at work if due, or at the end of a run that was long enough for the first
        pictures, unless it has been drawn as it is.
        """
        seconds, first = time.monotonic() - self._begun, self._run.config.run.pictures
        due = seconds >= first > 0 if last else seconds >= self._next_look
        if self._onlookers.draw is None or self._looked or not due:
            return
        with suppress(Stopped), refusals(self._run.path):
            self._board.add_pictures(self._onlookers.draw(self._agent), self._at)
        self._looked, self._next_look = True, 2 * (time.monotonic() - self._begun)

    def close(self) -> None:
        """Flush."""
        with refusals(self._run.path):
            self._board.close()


FIRST = "first iteration, compiling what is not yet cached"


class ProgressLine:
    """Shows training progress: a bar on a terminal, otherwise a line now and then.

    The speed excludes the first iteration, which compiles: before the second there is none.

    Args:
        begun_at: frames at the start.
        frames: frames in total.
        what: what is trained, if that needs saying.
    """

    def __init__(self, begun_at: int, frames: int, what: str = "") -> None:
        self._what = f"{what} · " if what else ""
        self._console = Console()
        self._bar = Progress(
            BarColumn(), TextColumn("{task.description}"), console=self._console, transient=False
        )
        self._task = self._bar.add_task(FIRST, total=frames, completed=begun_at)
        self._begun_at, self._begun, self._printed = begun_at, time.monotonic(), 0.0
        self._is_first = True
        if self._console.is_terminal:
            self._bar.start()

    def show(self, rows: Sequence[Row], frames: int) -> None:
        """Show runs by their latest rows of metrics, out of `frames` in total."""
        done = sum(int(row["frames"]) for row in rows)
        line = self._line(rows, done, frames)
        if self._is_first:
            self._begun_at, self._begun, self._is_first = done, time.monotonic(), False
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done, total=frames, description=line)
        elif time.monotonic() - self._printed > PLAIN_EVERY or done >= frames:
            print(line, flush=True)
            self._printed = time.monotonic()

    def close(self) -> None:
        """Restore the terminal."""
        if self._console.is_terminal:
            self._bar.stop()

    def _line(self, rows: Sequence[Row], done: int, frames: int) -> str:
        shares = [row["rollout/success_rate"] for row in rows if "rollout/success_rate" in row]
        success = f"{100 * sum(shares) / len(shares):.0f} %" if shares else "–"
        speed = left = ""
        if not self._is_first:
            rate = (done - self._begun_at) / (time.monotonic() - self._begun)
            speed = f" · {rate:,.0f}/s"
            left = f" · {timedelta(seconds=round(max(frames - done, 0) / rate))} left"
        return f"{self._what}{done:,}/{frames:,} frames{speed} · success {success}{left}"
