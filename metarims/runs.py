"""A run on disk: config.json, metrics.jsonl, checkpoints/ and TensorBoard's events."""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import Tensor

from .checkpoint import (
    Checkpoint,
    checkpoints,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
    tidy,
)
from .config import EvaluationConfig, RunConfig, RunSettings
from .errors import UsageError, note
from .files import (
    append_line,
    clear_aside,
    flush,
    held,
    left_aside,
    make_folder,
    refusals,
    write_json,
    write_text,
)
from .protocols import Agent
from .settings import Json, Leaf, differences, flatten, replace_at

Row = dict[str, float]

TAIL = 1 << 16  # bytes that hold several lines of metrics
CONFIG, METRICS, CHECKPOINTS = "config.json", "metrics.jsonl", "checkpoints"
EVENTS = "events.out.tfevents.*"  # TensorBoard's
LOCK = ".lock"  # a file, as some network file systems cannot lock folders
# Settings that may change when a run goes on, and are then recorded; the latter unless it is asked
# for without evaluations.
PLANS = ("frames", "until", "checkpoint_frames", "pictures")
EVALUATIONS = ("eval.env", "eval.every", "eval.episodes")
SOURCES = ("from", "imitate")  # folders that a run starts or learns from


@dataclass(frozen=True)
class Run:
    """A run's folder and its configuration."""

    path: Path
    config: RunConfig

    def save(self, frames: int, checkpoint: Checkpoint) -> Path:
        """Save a checkpoint, after flushing the metrics up to it to disk."""
        flush(self.path / METRICS)
        own = replace(checkpoint, config=self.config.as_json())
        keep_all = self.config.run.keep_checkpoints
        return save_checkpoint(self.path / CHECKPOINTS, frames, own, keep_all)

    def load(self, which: str = "") -> Checkpoint:
        """The newest whole checkpoint, or that at a number of frames, or the "best".

        Raises:
            UsageError: there is none, or it was made with another configuration.
        """
        checkpoint = load_checkpoint(self.path / CHECKPOINTS, which)
        if checkpoint.config:
            self._check_config(RunConfig.from_json(checkpoint.config))
        return checkpoint

    def _check_config(self, known: RunConfig) -> None:
        """Refuse a config.json that was damaged, or changed in what matters for continuing."""
        if changed := decisive_difference(self.config, known):
            path, value = changed
            there = flatten(decisive(known)).get(path, "absent")
            raise UsageError(
                f"{self.path / CONFIG} was changed or damaged: {path} is {value}, "
                f"but {there} in the checkpoint"
            )

    def has_begun(self) -> bool:
        """Whether there is anything to continue from."""
        return bool(checkpoints(self.path / CHECKPOINTS)) or (self.path / METRICS).exists()

    def load_agent(self, agent: Agent, which: str = "") -> None:
        """Load a checkpoint's parameters into `agent`; `UsageError` if they do not fit."""
        put_parameters(agent, self.load(which))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it, no other process can train the run; removes what killed processes left behind.

        Raises:
            UsageError: another process is training it, or the system refuses.
        """
        with held(self.path / LOCK) as mine:
            if not mine:
                raise UsageError(f"{self.path} is being trained by another process")
            clear_aside(self.path)
            tidy(self.path / CHECKPOINTS, self.config.run.keep_checkpoints)
            yield

    def clear(self) -> None:
        """Remove everything but the configuration."""
        with refusals(self.path):
            for left in (self.path / METRICS, *self.path.glob(EVENTS)):
                left.unlink(missing_ok=True)
            if (self.path / CHECKPOINTS).exists():
                shutil.rmtree(self.path / CHECKPOINTS)

    def record_plans(self) -> None:
        """Write to config.json what may change when a run goes on, and has changed."""
        known, asked = read_config(self.path / CONFIG), flatten(self.config)
        paths = (*PLANS, *(EVALUATIONS if asked["eval.env"] else ()))
        own = replace_at(known, {path: asked[path] for path in paths})
        if own != known:
            write_json(self.path / CONFIG, own.as_json())

    def write_metrics(self, row: Row) -> None:
        """Append one line to metrics.jsonl."""
        append_line(self.path / METRICS, json.dumps(row))

    def amend_metrics(self, row: Row) -> None:
        """Replace the last line of metrics.jsonl."""
        self._put_metrics([*[*self.metrics()][:-1], row])

    def _put_metrics(self, rows: Iterable[Row]) -> None:
        write_text(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def metrics(self) -> Iterator[Row]:
        """The rows of metrics.jsonl, without truncated or damaged ones."""
        path = self.path / METRICS
        for line in path.read_bytes().splitlines() if path.exists() else []:
            if row := _row(line):
                yield row

    def last_metrics(self) -> Row:
        """The newest whole row of metrics.jsonl, read from its end; empty if there is none."""
        path = self.path / METRICS
        if not path.exists():
            return {}
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().splitlines()
        return next(filter(None, map(_row, reversed(lines))), {})

    def forget_metrics_after(self, frames: int, iterations: int) -> None:
        """Drop the rows that a resumed run will write again; prints a note if some of the earlier
        ones, one per iteration, are missing.
        """
        rows = [row for row in self.metrics() if row["frames"] <= frames]
        if len(rows) < iterations:
            lacking = iterations - len(rows)
            note(f"{self.path / METRICS}: {lacking} of {iterations} lines are lost or damaged")
        self._put_metrics(rows)

    def checkpoints(self) -> set[int]:
        """The numbers of frames at which there are checkpoints."""
        return {int(name) for name in checkpoints(self.path / CHECKPOINTS)}

    def forget_checkpoints_after(self, frames: int) -> None:
        """Remove checkpoints that the run will write again."""
        for later in self.checkpoints():
            if later > frames:
                remove_checkpoint(self.path / CHECKPOINTS, later)


def _row(line: bytes) -> Row:
    """A row of metrics; empty if the line is truncated or damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not (line.isascii() and isinstance(row, dict) and "frames" in row):
        return {}
    whole = all(isinstance(value, int | float) for value in row.values())
    return cast(Row, row) if whole else {}


def decisive(config: RunConfig) -> RunConfig:
    """A configuration without what may change when a run continues."""
    run = RunSettings(seed=config.run.seed)
    return replace(config, run=run, evaluation=EvaluationConfig(), preset="")


def decisive_difference(config: RunConfig, other: RunConfig) -> tuple[str, Leaf] | None:
    """The first setting, by path, in which a run could not continue as the other, and its value."""
    own, theirs = decisive(config), decisive(other)
    if own == theirs:
        return None
    return next(iter(differences(own, theirs).items()), ("agent", "another"))


def check_out(config: RunConfig) -> Path:
    """The run's folder; `UsageError` if none is given, or it holds more than an untrained run."""
    if not config.run.out:
        raise UsageError("missing: --out, a folder for the run")
    path = Path(config.run.out)
    if not is_untrained(path):
        _refuse_if_taken(path)
    return path


def check_out_for_several(config: RunConfig) -> None:
    """`UsageError` if no folder is given for several runs, or it is a run's own or a file."""
    if not config.run.out:
        raise UsageError("missing: --out, a folder for the runs")
    path = Path(config.run.out)
    if (path / CONFIG).exists() or not path.is_dir():
        _refuse_if_taken(path)


@contextmanager
def create_run(config: RunConfig) -> Iterator[Run]:
    """Make the run's folder, in place of an untrained run's; held within, as by `Run.held`. What
    it starts or learns from is named as from anywhere.

    Raises:
        UsageError: as `check_out`, or another process is training there.
    """
    given = {path: str(flatten(config)[path]) for path in SOURCES}
    found = {path: str(Path(own).resolve()) for path, own in given.items() if own}
    config = replace_at(config, found)
    run = Run(make_folder(check_out(config)), config)
    with run.held():
        check_out(config)  # another process may have trained, meanwhile
        run.clear()
        write_json(run.path / CONFIG, config.as_json())
        yield run


def is_untrained(path: Path) -> bool:
    """Whether a folder holds a run that has finished no iteration, and nothing else."""
    with refusals(path):
        if not (path / CONFIG).is_file():
            return False
        own = {path / name for name in (CONFIG, METRICS, CHECKPOINTS, LOCK)}
        own |= {*path.glob(EVENTS)} | left_aside(path)
        begun = any(map(int, checkpoints(path / CHECKPOINTS)))
        log = path / METRICS
        return not begun and {*path.iterdir()} <= own and not (log.exists() and log.stat().st_size)


def _refuse_if_taken(path: Path) -> None:
    with refusals(path):
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; choose another folder")
        if path.is_dir() and {*path.iterdir()} - {path / LOCK} - left_aside(path):
            what = "another run: resume it" if (path / CONFIG).exists() else "other files: empty it"
            raise UsageError(f"{path} holds {what}, or choose another folder")


def load_run(path: str | Path) -> Run:
    """An existing run.

    Raises:
        UsageError: there is none at `path` (the message names the nearest), or its configuration
            cannot be read.
    """
    path = Path(path)
    return Run(path, read_config(path / CONFIG))


def find_run(config: RunConfig) -> Run | None:
    """The run, if it exists already and is not untrained.

    Raises:
        UsageError: it was begun with other settings, or was trained and has lost its checkpoints.
    """
    folder = Path(config.run.out)
    if not (folder / CONFIG).exists() or is_untrained(folder):
        return None
    run = load_run(folder)
    if changed := decisive_difference(run.config, config) or _other_source(run.config, config):
        path, value = changed
        raise UsageError(f"{run.path} was started with other settings: {path} is {value} there")
    if run.last_metrics() and not run.checkpoints():
        raise UsageError(f"{run.path} has lost its checkpoints: move it away to train it again")
    return run


def _other_source(config: RunConfig, other: RunConfig) -> tuple[str, Leaf] | None:
    """The first of the folders that a run starts or learns from that is not the other's, by its
    setting's path; those that were moved since are taken to be the same.
    """
    for path in SOURCES:
        own, theirs = (str(flatten(each)[path]) for each in (config, other))
        if own != theirs and not (own and theirs and _may_be_one(Path(own), Path(theirs))):
            return path, own or "nothing"
    return None


def _may_be_one(one: Path, other: Path) -> bool:
    return not (one.exists() and other.exists()) or one.samefile(other)


def load_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs in folders, each a run's own or one that contains several; each run once.

    Raises:
        UsageError: no folder is given, or as `load_run`.
    """
    folders = [folder for path in map(Path, paths) for folder in _one_or_many(path)]
    if not folders:
        raise UsageError("missing: RUN, the folder of a run or of one run per seed")
    known = {folder.resolve(): folder for folder in reversed(folders)}
    return [load_run(folder) for folder in reversed(known.values())]


def _one_or_many(path: Path) -> list[Path]:
    """A run's own folder, or those of the runs in it."""
    return [path] if (path / CONFIG).exists() else _within(path) or [path]


def _within(path: Path) -> list[Path]:
    """The folders of the runs in a folder; shorter names first."""
    if not path.is_dir():
        return []
    with refusals(path):
        runs = [folder for folder in path.iterdir() if (folder / CONFIG).is_file()]
    return sorted(runs, key=lambda run: (len(run.name), run.name))


def read_config(path: Path) -> RunConfig:
    """The configuration in a file; `UsageError` as `load_run`."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"no run at {path.parent}{_nearest(path.parent)}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} cannot be read as a configuration{_beside(path)}") from None
    if not isinstance(content, dict) or not {"format", "agent"} & content.keys():
        raise UsageError(f"{path} does not hold a configuration{_beside(path)}")
    try:
        return RunConfig.from_json(cast(dict[str, Json], content))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _beside(path: Path) -> str:
    """The configuration in the folder of a file that is none, for the message."""
    meant = path.with_name(CONFIG)
    return f"; nearest: {meant}" if meant != path and meant.exists() else ""


def put_parameters(agent: Agent, checkpoint: Checkpoint) -> None:
    """Load a checkpoint's parameters into `agent`; `UsageError` if they do not fit."""
    check_words(checkpoint.vocabulary, agent.vocabulary)
    prefix = "agent."
    values = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    for name, now in agent.state_dict().items():
        if name in values and values[name].dtype != now.dtype:
            check_like(name, values[name], now)
    try:
        agent.load_state_dict(values)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise UsageError(f"the checkpoint belongs to another agent: {first}") from None


def check_words(known: Sequence[str], here: Sequence[str]) -> None:
    """Refuse a checkpoint with another vocabulary; new words may follow its own."""
    for token, word in enumerate(known):
        if token >= len(here):
            raise UsageError(
                f"the checkpoint knows the word '{word}', which no level here uses: "
                "--import the file with its level"
            )
        if here[token] != word:
            raise UsageError(
                f"the checkpoint has the word '{word}' where '{here[token]}' is here: "
                "--import the run's own files first, in the same order"
            )


def check_like(name: str, given: Tensor, expected: Tensor) -> None:
    """Refuse a checkpoint's tensor if its shape or dtype differs from the run's own."""
    if (given.shape, given.dtype) != (expected.shape, expected.dtype):
        raise UsageError(
            f"the checkpoint does not fit this run: {name} is {tuple(given.shape)} of "
            f"{given.dtype}, expected {tuple(expected.shape)} of {expected.dtype}"
        )


def _nearest(path: Path) -> str:
    """The runs in or next to a path that has none, for the message."""
    if inner := _within(path):
        return f"; it holds {', '.join(map(str, inner[:3]))}{' …' if inner[3:] else ''}"
    runs = [folder.name for folder in _within(path.parent)]
    near = difflib.get_close_matches(path.name, runs, 3, 0.4) or sorted(runs)[:3]
    return f"; nearest: {', '.join(str(path.parent / name) for name in near)}" if near else ""
