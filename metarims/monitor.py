"""What a run shows while it learns: TensorBoard, metrics.jsonl and a line of progress."""

from __future__ import annotations

import json
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from .files import refusals
from .runs import Row, Run

PLAIN_EVERY = 10.0  # seconds between lines where the output is no terminal


class Monitor:
    """Writes each iteration's figures to the run's folder and shows how far it is."""

    def __init__(self, run: Run, begun_at: int, frames: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._run, self._frames = run, frames
        config = json.dumps(run.config.as_json(), indent=1)
        with refusals(run.path):
            # what came after the checkpoint comes again
            self._writer = SummaryWriter(str(run.path), purge_step=begun_at + 1)
            self._writer.add_text("config", f"```\n{config}\n```", 0)
        self._console = Console()
        self._bar = Progress(
            BarColumn(), TextColumn("{task.description}"), console=self._console, transient=False
        )
        self._task = self._bar.add_task("", total=frames, completed=begun_at)
        self._begun_at, self._begun, self._printed = begun_at, time.monotonic(), 0.0
        if self._console.is_terminal:
            self._bar.start()

    def report(self, row: Row) -> None:
        """Record one iteration: its figures by name, and ``frames``, the frames so far."""
        frames = int(row["frames"])
        with refusals(self._run.path):
            for name, value in row.items():
                if "/" in name:
                    self._writer.add_scalar(name, value, frames)
            self._writer.flush()
        self._run.write_metrics(row)
        line = self._line(row)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=frames, description=line)
        elif time.monotonic() - self._printed > PLAIN_EVERY or frames >= self._frames:
            print(line, flush=True)
            self._printed = time.monotonic()

    def close(self) -> None:
        """Flush, and leave the terminal as it was."""
        with refusals(self._run.path):
            self._writer.close()
        if self._console.is_terminal:
            self._bar.stop()

    def _line(self, row: Row) -> str:
        frames = int(row["frames"])
        rate = (frames - self._begun_at) / (time.monotonic() - self._begun)
        left = timedelta(seconds=round(max(self._frames - frames, 0) / rate))
        share = row.get("rollout/success_rate")
        success = "–" if share is None else f"{100 * share:.0f} %"
        return (
            f"{frames:,}/{self._frames:,} frames · {rate:,.0f}/s · success {success} · {left} left"
        )
