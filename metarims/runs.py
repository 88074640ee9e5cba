"""A run on disk: config.json, metrics.jsonl, checkpoints/ and TensorBoard's events."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .config import RunConfig
from .errors import UsageError
from .files import append_line, make_folder, write_json, write_text
from .protocols import Agent
from .settings import Json

Row = dict[str, float]

TAIL = 1 << 16  # bytes that hold several lines of metrics
CONFIG, METRICS, CHECKPOINTS = "config.json", "metrics.jsonl", "checkpoints"


@dataclass(frozen=True)
class Run:
    """A run's folder and how it was configured."""

    path: Path
    config: RunConfig

    def save(self, frames: int, checkpoint: Checkpoint) -> Path:
        """Keep a checkpoint, and the first of those that succeed most."""
        return save_checkpoint(self.path / CHECKPOINTS, frames, checkpoint)

    def load(self, which: str = "") -> Checkpoint:
        """The newest whole checkpoint, or that of so many frames, or the "best"."""
        return load_checkpoint(self.path / CHECKPOINTS, which)

    def load_agent(self, agent: Agent, which: str = "") -> None:
        """Give `agent` a checkpoint's parameters; `UsageError` if they do not fit."""
        put_parameters(agent, self.load(which))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it no other process may train the run; `UsageError` where one does."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UsageError(f"{self.path} is being trained by another process") from None
        finally:
            os.close(folder)

    def write_metrics(self, row: Row) -> None:
        """Append one line to metrics.jsonl."""
        append_line(self.path / METRICS, json.dumps(row))

    def metrics(self) -> Iterator[Row]:
        """The lines of metrics.jsonl, up to one that is cut short or damaged."""
        path = self.path / METRICS
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                return
            if not line.isascii():  # what cannot be read as text is replaced by a sign
                return
            yield row

    def last_metrics(self) -> Row:
        """The newest whole line of metrics.jsonl, read from its end; empty where there is none."""
        path = self.path / METRICS
        if not path.exists():
            return {}
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().splitlines()
        for line in reversed(lines):
            try:
                return cast(Row, json.loads(line))
            except ValueError:
                continue
        return {}

    def forget_metrics_after(self, frames: int) -> None:
        """Drop the lines that a resumed run will write again."""
        rows = [row for row in self.metrics() if row["frames"] <= frames]
        write_text(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows))


def create_run(config: RunConfig) -> Run:
    """Make the run's folder; one that holds anything is refused."""
    if not config.run.out:
        raise UsageError("missing: --out, a folder for the run")
    path = Path(config.run.out)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; choose another folder")
    if path.is_dir() and any(path.iterdir()):
        what = "another run: resume it" if (path / CONFIG).exists() else "other files: empty it"
        raise UsageError(f"{path} holds {what}, or choose another folder")
    write_json(make_folder(path) / CONFIG, config.as_json())
    return Run(path, config)


def load_run(path: str | Path) -> Run:
    """A run that was made before.

    Raises:
        UsageError: there is none at `path` (the message names the nearest), or its configuration
            cannot be read.
    """
    path = Path(path)
    return Run(path, read_config(path / CONFIG))


def read_config(path: Path) -> RunConfig:
    """The configuration in a file; `UsageError` as `load_run`."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"no run at {path.parent}{_nearest(path.parent)}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} does not hold a configuration")
    try:
        return RunConfig.from_json(cast(dict[str, Json], content))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def put_parameters(agent: Agent, checkpoint: Checkpoint) -> None:
    """Give `agent` a checkpoint's parameters; `UsageError` if they do not fit."""
    prefix = "agent."
    values = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    try:
        agent.load_state_dict(values)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise UsageError(f"the checkpoint is of another agent: {first}") from None


def _nearest(path: Path) -> str:
    """The runs beside a path where there is none."""
    if not path.parent.is_dir():
        return ""
    runs = [folder.name for folder in path.parent.iterdir() if (folder / CONFIG).is_file()]
    near = difflib.get_close_matches(path.name, runs, 3, 0.4) or sorted(runs)[:3]
    return f"; nearest: {', '.join(str(path.parent / name) for name in near)}" if near else ""
