"""Runs that differ in their seed alone, trained at once by one process, each with its folder.

Each is a `Training` as of a run alone, which knows its agent, its environments, its optimiser and
its tally. A stack takes from all of them what changes in an iteration, and gives it back to each
before that is kept.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

import torch

from .clock import Clock, is_to_stop
from .config import RunConfig
from .errors import UsageError
from .graphs import iterating
from .learner import Iteration
from .monitor import NOBODY, Monitor, Onlookers, ProgressLine
from .protocols import Agent, Environment
from .rollout import Rollout, forward_step, run_by_run, side_by_side
from .runs import Row, Run, create_run, find_run
from .stacked import StackedLearner, each_run
from .stopping import Stopped, noting
from .training import Summary, Training, from_the_start, keep, summary_of


@dataclass(frozen=True)
class Member:
    """What one of the runs is made of: its settings, and environments and agent of its own."""

    config: RunConfig
    env: Environment
    agent: Agent


def why_not_stacked(config: RunConfig) -> str:
    """What keeps runs of a configuration from learning at once, or nothing."""
    levels, count = len(config.environment.env), config.environment.num_envs
    if not config.agent.stacks:
        return f"an agent of kind {config.preset} cannot be stacked"
    if config.algorithm.imitates:
        return f"the algorithm {config.algorithm.name} cannot be stacked"
    if any(loop.per_task for _, loop in config.loops.turns()):
        return "per_task cannot be stacked"
    if levels and count % levels:
        return f"stacked runs need equal shares of {levels} levels, num_envs is {count}"
    return ""


class Stack:
    """Trainings that learn at once.

    Args:
        trainings: of runs that differ in their seed alone, after as many frames each.
        env: for the environments of all, side by side.

    Attributes:
        going: the numbers of those that go on learning.

    Raises:
        UsageError: their agent cannot be stacked.
    """

    def __init__(self, trainings: Sequence[Training], env: Environment) -> None:
        self.trainings, self.env = list(trainings), env
        self.going = set(range(len(self.trainings)))
        env.state = torch.cat([training.env.state for training in trainings])
        env.task = torch.cat([training.env.task for training in trainings])
        self.cursor = side_by_side([training.cursor for training in trainings])
        self.learner = StackedLearner([training.learner for training in trainings], env.device)
        self._iterate = iterating(self.learner, trainings[0].settings, env.device)
        with torch.no_grad():
            forward_step(self.learner.agent, self.cursor)  # what cannot be stacked is refused now

    def iterate(self) -> dict[int, Row]:
        """One iteration of all; a line of metrics of each run that is going on, by its number."""
        before, runs = time.perf_counter(), len(self.trainings)
        iteration, self.cursor = self._iterate(self.env, self.cursor)
        parts = each_run(iteration, runs)
        figures = {k: self.trainings[k].figures(parts[k]) for k in self.going}
        values = [torch.stack([x.double() for x in own.values()]) for own in figures.values()]
        read = dict(zip(figures, torch.stack(values).tolist(), strict=True))
        seconds = time.perf_counter() - before  # to read them waits until the work is done
        seen = each_run(_on_host(iteration), runs)
        cursors = run_by_run(replace(self.cursor, so_far=self.cursor.so_far.cpu()), runs)
        rows = {k: dict(zip(figures[k], read[k], strict=True)) for k in figures}
        return {
            k: self.trainings[k].after(seen[k], cursors[k], rows[k], seconds) for k in self.going
        }

    def rest(self, k: int) -> None:
        """Have a run learn no more: it stays as it is."""
        self.going.discard(k)
        self.learner.resting[k] = True

    def give_back(self) -> None:
        """Let the trainings have what they would have alone."""
        self.learner.give_back()
        for training, own in zip(
            self.trainings, self.env.state.chunk(len(self.trainings)), strict=True
        ):
            training.env.state = own


def train_stacked(
    members: Sequence[Member], env: Environment, onlookers: Onlookers = NOBODY
) -> list[Summary]:
    """Train runs that differ in their seed alone at once, to their frames, each into its folder;
    those that were interrupted go on from the newest checkpoint that all of them have.

    Args:
        members: the runs.
        env: for the environments of all, side by side.
        onlookers: who look at them now and then; the first one alone is drawn.

    Raises:
        UsageError: the runs cannot go on together, their agent cannot be stacked, or one of them
            learnt nothing more; the others have come to their end by then.
    """
    with ExitStack() as holding:
        there = [find_run(member.config) for member in members]
        for run in filter(None, there):
            holding.enter_context(run.held())
        frames = _common_frames(there)
        trainings = [
            _restored(member, run, frames) for member, run in zip(members, there, strict=True)
        ]
        stack = Stack(trainings, env)
        runs = []
        for member, known, training in zip(members, there, trainings, strict=True):
            run = known or create_run(member.config)
            if known is None:
                holding.enter_context(run.held())
            _stand_at(run, training)
            runs.append(run)
        return _go_on(stack, runs, members[0].config, onlookers)


def _stand_at(run: Run, training: Training) -> None:
    """Have a run's folder hold what was before the training stands, and no more."""
    frames = training.tally.frames
    if not run.checkpoints():
        keep(run, training)
    run.forget_checkpoints_after(frames)
    run.forget_metrics_after(frames, training.tally.iterations)


def _common_frames(runs: Sequence[Run | None]) -> int:
    """The newest frames after which all runs have a checkpoint, or have yet to begin."""
    known = [(run.checkpoints() if run else set()) or {0} for run in runs]
    common = set.intersection(*known)
    if not common:
        stands = ", ".join(f"{max(frames):,}" for frames in known)
        raise UsageError(
            f"the runs have no checkpoint after as many frames, they stand at {stands}: "
            "stacked they go on together only; go on with --stacked no"
        )
    return max(common)


def _restored(member: Member, run: Run | None, frames: int) -> Training:
    """A run's training after so many frames."""
    if run is None or not run.checkpoints():
        return from_the_start(member.config, member.env, member.agent)
    training = Training(member.config, member.env, member.agent)
    training.restore(run.load(str(frames)))
    return training


def _go_on(
    stack: Stack, runs: Sequence[Run], config: RunConfig, onlookers: Onlookers
) -> list[Summary]:
    """Train until every run is done; one that fails rests, and is told of at the end."""
    frames, trainings, faults = config.run.frames, stack.trainings, dict[int, str]()
    clock = Clock(trainings[0].tally.frames, config.run.checkpoint_frames)
    for k in [k for k in stack.going if trainings[k].is_done(frames)]:
        stack.rest(k)
    with noting() as told, _shown(runs, trainings, frames, onlookers) as report:
        while stack.going:
            rows = stack.iterate()
            going = [(k, trainings[k]) for k in sorted(stack.going)]
            done = [k for k, each in going if each.is_done(frames)]
            report(rows, done)
            now = trainings[min(stack.going)].tally.frames
            due, stop = clock.is_due(now), is_to_stop(told)
            ended = [k for k, each in going if k in done or each.is_lost()]
            if kept := sorted(stack.going) if due or stop else ended:
                stack.give_back()
                found = {k: _keep(runs[k], trainings[k]) for k in kept}
                faults |= {k: fault for k, fault in found.items() if fault}
            if due:
                clock.saved(now)
            for k in {*ended, *faults}:
                stack.rest(k)
            if stop:
                raise Stopped(told.number or signal.SIGTERM)
    if faults:
        raise UsageError("; ".join(faults.values()))
    return [summary_of(run, training) for run, training in zip(runs, trainings, strict=True)]


def _keep(run: Run, training: Training) -> str:
    """Checkpoint a run; why it cannot go on, or nothing."""
    try:
        keep(run, training)
    except UsageError as error:
        return str(error)
    return f"{run.path}: {training.lament()}" if training.is_lost() else ""


@contextmanager
def _shown(
    runs: Sequence[Run], trainings: Sequence[Training], frames: int, onlookers: Onlookers
) -> Iterator[Callable[[Mapping[int, Row], Sequence[int]], None]]:
    """What takes an iteration's figures, of the runs that are going on, and whose last it was."""
    begun = [training.tally.frames for training in trainings]
    last: list[Row] = [{"frames": count} for count in begun]
    with ExitStack() as shown:
        line = ProgressLine(sum(begun), len(runs) * frames, f"{len(runs)} runs")
        shown.enter_context(closing(line))
        monitors = []
        for k, training in enumerate(trainings):  # to draw them all would take long
            own = replace(onlookers, draw=None) if k else onlookers
            monitors.append(Monitor(runs[k], training.agent, begun[k], own))
            shown.enter_context(closing(monitors[k]))

        def report(rows: Mapping[int, Row], done: Sequence[int]) -> None:
            for k, row in rows.items():
                last[k] = row
                monitors[k].report(row, k in done)
            most = [frames if k in rows else int(row["frames"]) for k, row in enumerate(last)]
            line.show(last, sum(most))

        yield report
        monitors[0].look(last=True)


def _on_host(iteration: Iteration) -> Iteration:
    """What a tally reads of it copied to the host at once, not run by run."""

    def copied(rollout: Rollout) -> Rollout:
        ends = {name: getattr(rollout, name).cpu() for name in ("ends", "terminated", "truncated")}
        return replace(rollout, **ends)

    return replace(iteration, rollouts=[copied(rollout) for rollout in iteration.rollouts])
