"""A search with Optuna: one study per preset, with equally many trials, all in one journal.

Several workers can share a folder: a worker takes the next trial of the preset that has the fewest,
or a trial that its worker has abandoned. A trial is a run on each of the levels, each in its own
folder; it is stopped early if its success lags behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config import RunConfig
from ..errors import UsageError, check_choice
from ..files import held, make_folder, refusals
from ..settings import Leaf, flatten, replace_at
from .space import Space, space_of
from .trials import MARKS, WARM_UP, Finish, Measurement, as_score

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

SAMPLERS, PRUNERS = ("tpe", "random", "gp"), ("median", "hyperband", "none")
JOURNAL, HELD = "search.journal", "held"
SEED = 1  # of the trials' runs
STARTING = 4  # trials of a study before any is stopped early, including the defaults


@dataclass(frozen=True)
class Point:
    """A trial that has ended.

    Attributes:
        number: 0 for the preset's defaults.
        settings: those changed from the defaults.
        score: mean success rate over its frames, as far as it got.
        measured: whether an episode has counted in it.
        pruned: whether it was stopped early.
        frames: frames it was trained for.
    """

    number: int
    settings: Mapping[str, Leaf]
    score: float
    measured: bool
    pruned: bool
    frames: int


@dataclass(frozen=True)
class Studies:
    """What is searched, the same for each preset.

    Attributes:
        folder: of the journal and the runs.
        presets: with their levels and the frames of a run.
        space: settings to vary, all at once.
        trials: per preset, including the defaults.
        sampler, pruner: Optuna's, see SAMPLERS and PRUNERS.
        seed: of the sampler.

    Raises:
        UsageError: the folder holds another search, or its journal cannot be read.
    """

    folder: Path
    presets: tuple[RunConfig, ...]
    space: Space
    trials: int
    sampler: str = SAMPLERS[0]
    pruner: str = PRUNERS[0]
    seed: int = 0
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_choice("sampler", self.sampler, SAMPLERS)
        check_choice("pruner", self.pruner, PRUNERS)
        object.__setattr__(self, "names", tuple(preset.preset for preset in self.presets))
        with held(make_folder(self.folder) / HELD, wait=True):
            for name in self.names:
                self._begin(name)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that each trial is trained on, one after another."""
        return self.presets[0].environment.env

    def work(self, finish: Finish, stopped: Callable[[], bool]) -> Iterator[str]:
        """Run trials while there are any to start; yields a line for each that ends.

        Args:
            finish: trains a run, or stops it, by a `UsageError`, when its second argument says so.
            stopped: whether to stop.

        Raises:
            UsageError: a run failed for a reason other than its settings.
        """
        while not stopped():
            with refusals(self.folder), self._claimed() as claimed:
                if claimed is None:
                    return
                name, trial = claimed
                space = space_of(self._preset(name), self.space)
                config = partial(self.config, name, trial.number)
                made = Measurement(trial, self._preset(name), space, config)
                yield f"{name} {trial.number}  {made.make(self.levels, finish, stopped)}"

    def points(self, name: str) -> list[Point]:
        """The trials of a preset that have ended, by number."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return [self._point(name, trial) for trial in self._study(name).get_trials(states=states)]

    def finalists(self, name: str, count: int) -> list[Point]:
        """The defaults, and the best of the other trials that were not stopped early, each with
        settings of its own.
        """
        defaults, *others = self.points(name)
        found = [defaults]
        for point in sorted(others, key=lambda point: -point.score):
            if not point.pruned and all(point.settings != known.settings for known in found):
                found.append(point)
        return found[: 1 + count]

    def missing(self) -> int:
        """Number of trials that have not ended yet."""
        return sum(max(self.trials - len(self.points(name)), 0) for name in self.names)

    def overview(self) -> str:
        """One line on progress: how many trials have ended, and each preset's best score."""
        words = [
            f"{self.trials * len(self.names) - self.missing()}/{self.trials * len(self.names)}"
        ]
        for name in self.names:
            points = self.points(name)
            best = max((point.score for point in points if point.measured), default=None)
            words.append(f"{name} {len(points)}, best {as_score(best)}")
        return f"trials {' · '.join(words)}"

    def config(
        self, name: str, number: int, level: str, settings: Mapping[str, Leaf], seed: int = SEED
    ) -> RunConfig:
        """The configuration of one of a trial's runs."""
        out = self._home(name, number) / f"{level}-{seed}"
        own = {"env": (level,), "seed": seed, "out": str(out), "pictures": 0.0}
        return replace_at(self._preset(name), {**settings, **own})

    @cached_property
    def _storage(self) -> JournalStorage:
        return open_journal(self.folder / JOURNAL)

    def _study(self, name: str, sampler: BaseSampler | None = None) -> Study:
        """A preset's study, as it now is in the journal."""
        from optuna import load_study

        return load_study(
            storage=self._storage,
            study_name=name,
            sampler=sampler or make_sampler("random", self.seed),
            pruner=make_pruner(self.pruner, len(self.levels)),
        )

    def _begin(self, name: str) -> None:
        """Create a preset's study, the defaults its first trial; refuse another search's."""
        from optuna import create_study, get_all_study_names

        if name not in get_all_study_names(self._storage):
            create_study(storage=self._storage, study_name=name, direction="maximize")
        study, defaults = self._study(name), flatten(self._preset(name))
        space = space_of(self._preset(name), self.space)
        varied = {path: vars(values) for path, values in space.items()}
        asked = json.dumps([self.levels, self._preset(name).run.frames, self.seed, varied])
        if not study.trials:
            study.set_user_attr("asked", asked)
            known = {path: defaults[path] for path in space if space[path].has(defaults[path])}
            study.enqueue_trial(known)
        elif study.user_attrs.get("asked") != asked:
            raise UsageError(
                f"{self.folder} holds a search with other levels, frames, seed or settings: "
                "choose another folder"
            )

    @contextmanager
    def _claimed(self) -> Iterator[tuple[str, Trial] | None]:
        """A trial that no other worker is running, and its preset; None if there is none."""
        with ExitStack() as stack:
            for name, number, id in self._candidates():
                home = make_folder(self._home(name, number))
                if stack.enter_context(held(home / HELD)) and self._is_running(name, number):
                    yield name, self._trial(name, number, id)
                    return
                stack.pop_all().close()
            yield None

    def _candidates(self) -> Iterator[tuple[str, int, int]]:
        """Preset, number and id of running trials, which their workers may have abandoned; then,
        while there are any, of new ones.
        """
        from optuna.trial import TrialState

        for name in self.names:
            for known in self._study(name).get_trials(states=(TrialState.RUNNING,)):
                yield name, known.number, known._trial_id
        while True:
            begun = {name: self._begun(name) for name in self.names}
            name = min(begun, key=lambda name: len(begun[name]))
            if len(begun[name]) >= self.trials:
                return
            study = self._study(name)
            trial = study.ask()
            if sum(number < trial.number for number in self._begun(name)) < self.trials:
                yield name, trial.number, trial._trial_id
            else:  # another worker has started the last one
                study.tell(trial, state=TrialState.FAIL)

    def _begun(self, name: str) -> list[int]:
        """The numbers of a preset's trials that are running or have ended."""
        from optuna.trial import TrialState

        passed_over = (TrialState.WAITING, TrialState.FAIL)
        trials = self._study(name).get_trials(deepcopy=False)
        return [trial.number for trial in trials if trial.state not in passed_over]

    def _is_running(self, name: str, number: int) -> bool:
        """Whether a trial has not ended, now that it is held."""
        return not self._study(name).trials[number].state.is_finished()

    def _trial(self, name: str, number: int, id: int) -> Trial:
        """The trial, with a sampler seeded by its number, whoever runs it."""
        from optuna import Trial

        drawn = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        return Trial(self._study(name, make_sampler(self.sampler, drawn)), id)

    def _point(self, name: str, trial: FrozenTrial) -> Point:
        from optuna.trial import TrialState

        attributes = trial.user_attrs
        return Point(
            trial.number,
            attributes["settings"],
            float(trial.value or 0.0),
            attributes.get("measured", True),  # not noted by earlier versions
            trial.state == TrialState.PRUNED,
            attributes["frames"],
        )

    def _preset(self, name: str) -> RunConfig:
        return self.presets[self.names.index(name)]

    def _home(self, name: str, number: int) -> Path:
        return self.folder / name / f"{number:03}"


def open_journal(path: Path) -> JournalStorage:
    """Optuna's journal of all studies, lines of JSON; a truncated last line is dropped.

    Raises:
        UsageError: it cannot be read, or Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
    except ModuleNotFoundError:
        raise UsageError("search needs Optuna: pip install 'metarims[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = path.resolve()  # a lock is a link to it, and is broken by the age of what it leads to
    lock = JournalFileSymlinkLock(str(path))
    with refusals(path):
        path.touch()
        lock.acquire()
        try:
            whole = path.read_bytes()
            if whole and not whole.endswith(b"\n"):
                os.truncate(path, whole.rfind(b"\n") + 1)
        finally:
            lock.release()
    try:
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Optuna's sampler of that name."""
    from optuna import samplers

    kinds = {
        "tpe": samplers.TPESampler,
        "random": samplers.RandomSampler,
        "gp": samplers.GPSampler,
    }
    sampler: BaseSampler = kinds[name](seed=seed)
    return sampler


def make_pruner(name: str, levels: int) -> BasePruner:
    """Optuna's pruner of that name, for trials on that many levels."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(STARTING, n_warmup_steps=WARM_UP)
    if name == "hyperband":
        return pruners.HyperbandPruner(WARM_UP, levels * MARKS)
    return pruners.NopPruner()
