"""Runs that differ only in their seed, trained at once by one process, each in its own folder.

Each is a `Training`, as for a single run, with its agent, environments, optimiser and tally. A
stack takes over what changes during an iteration, and hands it back before a checkpoint.
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
    """One of the runs: its settings, with environments and an agent of its own."""

    config: RunConfig
    env: Environment
    agent: Agent


def why_not_stacked(config: RunConfig) -> str:
    """Why runs of a configuration cannot be trained at once; "" if they can."""
    levels, count = len(config.environment.env), config.environment.num_envs
    if not config.agent.stacks:
        return f"agent {config.preset!r} cannot be stacked"
    if config.algorithm.imitates:
        return f"algorithm {config.algorithm.name!r} cannot be stacked"
    if any(loop.per_task for _, loop in config.loops.turns()):
        return "per_task cannot be stacked"
    if levels and count % levels:
        return f"stacked runs need a num_envs divisible by the {levels} levels, got {count}"
    return ""


class Stack:
    """Trainings that run at once.

    Args:
        trainings: of runs that differ only in their seed, after equally many frames.
        env: environments of all runs, side by side.

    Attributes:
        going: indices of the runs that are still training.

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
            forward_step(self.learner.agent, self.cursor)  # refuses what cannot be stacked

    def iterate(self) -> dict[int, Row]:
        """One iteration of all runs; a row of metrics by index for those still training."""
        before, runs = time.perf_counter(), len(self.trainings)
        iteration, self.cursor = self._iterate(self.env, self.cursor)
        parts = each_run(iteration, runs)
        figures = {k: self.trainings[k].figures(parts[k]) for k in self.going}
        values = [torch.stack([x.double() for x in own.values()]) for own in figures.values()]
        read = dict(zip(figures, torch.stack(values).tolist(), strict=True))
        seconds = time.perf_counter() - before  # after reading them, which waits for the device
        seen = each_run(_on_host(iteration), runs)
        cursors = run_by_run(replace(self.cursor, so_far=self.cursor.so_far.cpu()), runs)
        rows = {k: dict(zip(figures[k], read[k], strict=True)) for k in figures}
        return {
            k: self.trainings[k].after(seen[k], cursors[k], rows[k], seconds) for k in self.going
        }

    def rest(self, k: int) -> None:
        """Stop training a run, which then stays as it is."""
        self.going.discard(k)
        self.learner.resting[k] = True

    def give_back(self) -> None:
        """Hand each training the state that it would have alone."""
        self.learner.give_back()
        for training, own in zip(
            self.trainings, self.env.state.chunk(len(self.trainings)), strict=True
        ):
            training.env.state = own


def train_stacked(
    members: Sequence[Member], env: Environment, onlookers: Onlookers = NOBODY
) -> list[Summary]:
    """Train runs that differ only in their seed at once, to their frames, each into its folder;
    interrupted ones continue from the newest checkpoint that all of them have.

    Args:
        members: the runs.
        env: environments of all runs, side by side.
        onlookers: callbacks during training; only the first run is drawn.

    Raises:
        UsageError: the runs cannot continue together, their agent cannot be stacked, or one of them
            failed; the others have finished by then.
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
            if known is None:
                run = holding.enter_context(create_run(member.config))
            else:
                run = replace(known, config=member.config)
                run.record_plans()
            _stand_at(run, training)
            runs.append(run)
        return _go_on(stack, runs, members[0].config, onlookers)


def _stand_at(run: Run, training: Training) -> None:
    """Make a run's folder end where its training stands."""
    frames = training.tally.frames
    if not run.checkpoints():
        keep(run, training)
    run.forget_checkpoints_after(frames)
    run.forget_metrics_after(frames, training.tally.iterations)


def _common_frames(runs: Sequence[Run | None]) -> int:
    """The largest frame count at which all runs have a checkpoint, 0 if none has begun."""
    known = [(run.checkpoints() if run else set()) or {0} for run in runs]
    common = set.intersection(*known)
    if not common:
        stands = ", ".join(f"{max(frames):,}" for frames in known)
        raise UsageError(
            f"stacked runs resume from the same frame only, but these stand at {stands}: "
            "resume them with --stacked no"
        )
    return max(common)


def _restored(member: Member, run: Run | None, frames: int) -> Training:
    """A run's training at `frames`."""
    if run is None or not run.checkpoints():
        return from_the_start(member.config, member.env, member.agent)
    training = Training(member.config, member.env, member.agent)
    training.restore(run.load(str(frames)))
    return training


def _go_on(
    stack: Stack, runs: Sequence[Run], config: RunConfig, onlookers: Onlookers
) -> list[Summary]:
    """Train until every run is done; one that fails is frozen, and reported at the end."""
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
    """Checkpoint a run; why it cannot continue, or ""."""
    try:
        keep(run, training)
    except UsageError as error:
        return str(error)
    return f"{run.path}: {training.lament()}" if training.is_lost() else ""


@contextmanager
def _shown(
    runs: Sequence[Run], trainings: Sequence[Training], frames: int, onlookers: Onlookers
) -> Iterator[Callable[[Mapping[int, Row], Sequence[int]], None]]:
    """A function that takes an iteration's figures, by run, and the runs that it finished."""
    begun = [training.tally.frames for training in trainings]
    last: list[Row] = [{"frames": count} for count in begun]
    with ExitStack() as shown:
        line = ProgressLine(sum(begun), len(runs) * frames, f"{len(runs)} runs")
        shown.enter_context(closing(line))
        monitors = []
        for k, training in enumerate(trainings):  # drawing all of them would take long
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
    """An iteration, with what tallies read copied to the host at once rather than run by run."""

    def copied(rollout: Rollout) -> Rollout:
        ends = {name: getattr(rollout, name).cpu() for name in ("ends", "terminated", "truncated")}
        return replace(rollout, **ends)

    return replace(iteration, rollouts=[copied(rollout) for rollout in iteration.rollouts])
