"""A trial of a search: settings drawn by Optuna, and the runs that score them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ..config import RunConfig
from ..errors import UsageError
from ..runs import load_run
from ..settings import Leaf, flatten
from .curves import read_curve
from .jobs import is_lost, last_row
from .space import Choice, Range

if TYPE_CHECKING:
    from optuna import Trial

MARKS = 10  # of a run, at which it is checked for lagging behind
WARM_UP = 3  # marks before a trial can be stopped

Finish = Callable[[RunConfig, Callable[[], bool]], object]


class MakeConfig(Protocol):
    """Makes the configuration of a trial's run on a level."""

    def __call__(self, level: str, settings: Mapping[str, Leaf]) -> RunConfig:
        """With some settings changed."""


class Measurement:
    """A trial in progress: its runs, and their growing success.

    Its score at each mark is the mean success rate over the frames so far, the levels one after
    another; at the last mark, over all frames.

    Args:
        trial: Optuna's.
        preset: the preset that its settings change.
        space: settings to vary.
        config: makes its runs' configurations.
    """

    def __init__(
        self,
        trial: Trial,
        preset: RunConfig,
        space: Mapping[str, Range | Choice],
        config: MakeConfig,
    ) -> None:
        self._trial, self._space, self._config = trial, space, config
        self._defaults = flatten(preset)
        known = trial.study.trials[trial.number].intermediate_values  # where it was left before
        self._mark, self._score = max(known, default=0), known[max(known)] if known else 0.0
        self._lags = False

    def make(self, levels: Sequence[str], finish: Finish, stopped: Callable[[], bool]) -> str:
        """Make its runs; returns the outcome in a few words.

        Args:
            levels: one after another.
            finish: trains a run, or stops it, by a `UsageError`, when its second argument says so.
            stopped: whether to stop at once, by a `UsageError`.
        """
        from optuna.trial import TrialState

        settings, score, frames, measured, ended = self._draw(), 0.0, 0, False, False
        self._trial.set_user_attr("settings", settings)
        for number, level in enumerate(levels):
            config = self._config(level, settings)
            ended = not self._is_finished(config, number, score, finish, stopped)
            row = last_row(config)
            frames += int(row.get("frames", 0))
            measured = measured or "rollout/success_rate" in row
            if ended:
                break
            score += read_curve(load_run(config.run.out)).area(config.run.frames)
        self._trial.set_user_attr("frames", frames)
        self._trial.set_user_attr("measured", measured)
        score = self._score if ended else score / len(levels)
        state = TrialState.PRUNED if ended else TrialState.COMPLETE
        self._trial.study.tell(self._trial, None if ended else score, state)
        said = as_score(score if measured else None)
        return f"{said}{', ended early' if ended else ''}  {flags(settings) or 'defaults'}"

    def _draw(self) -> dict[str, Leaf]:
        """The settings that it changes from the preset: none for the first trial."""
        drawn: dict[str, Leaf] = {}
        for path, values in self._space.items():
            if self._trial.number == 0 and not values.has(self._defaults[path]):
                continue
            if isinstance(values, Choice):
                drawn[path] = self._trial.suggest_categorical(path, values.values)
            elif values.is_whole:
                low, high = int(values.low), int(values.high)
                drawn[path] = self._trial.suggest_int(path, low, high, log=True)
            else:
                exact = self._trial.suggest_float(path, values.low, values.high, log=True)
                drawn[path] = values.rounded(exact)
        changed = {path: leaf for path, leaf in drawn.items() if leaf != self._defaults[path]}
        return changed if self._trial.number else {}

    def _is_finished(
        self,
        config: RunConfig,
        number: int,
        before: float,
        finish: Finish,
        stopped: Callable[[], bool],
    ) -> bool:
        """Make a run; whether it reached its end, not stopped for lagging or for its gradients."""
        try:
            finish(config, lambda: stopped() or self._is_behind(config, number, before))
        except UsageError:
            if not self._lags and not is_lost(config):
                raise
            return False
        self._note(config, number, before)
        return True

    def _is_behind(self, config: RunConfig, number: int, before: float) -> bool:
        """Whether the pruner would stop the trial; the defaults are never stopped."""
        if not self._lags and self._note(config, number, before) and self._trial.number:
            self._lags = self._trial.should_prune()
        return self._lags

    def _note(self, config: RunConfig, number: int, before: float) -> bool:
        """Report the marks that a run has passed; whether there is a new one."""
        frames, first = last_row(config).get("frames", 0), number * MARKS
        passed = first + min(MARKS, int(MARKS * frames / config.run.frames))
        if passed <= self._mark:
            return False
        curve = read_curve(load_run(config.run.out))
        for mark in range(self._mark + 1, passed + 1):
            share = (mark - first) / MARKS
            area = curve.area(share * config.run.frames)
            self._score = (before + share * area) / (number + share)
            self._trial.report(self._score, mark)
        self._mark = passed
        return True


def as_score(score: float | None) -> str:
    """A score in words, also of nothing that was measured."""
    return "–" if score is None else f"{score:.3f}"


def flags(settings: Mapping[str, Leaf]) -> str:
    """Settings as command-line flags."""
    return " ".join(_flag(path.replace("_", "-"), leaf) for path, leaf in settings.items())


def _flag(path: str, leaf: Leaf) -> str:
    if isinstance(leaf, bool):
        owner, dot, name = path.rpartition(".")
        return f"--{path}" if leaf else f"--{owner}{dot}no-{name}"
    return f"--{path} {leaf}"
