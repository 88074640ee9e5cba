"""Training a run from first to last frame, and resuming it after an interruption, to the bit."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from . import ranks
from .checkpoint import Checkpoint
from .clock import Clock, is_to_stop
from .config import RunConfig
from .diagnostics import diagnose
from .errors import UsageError, check_between, note
from .graphs import iterating
from .learner import Iteration, Learner, first_nonfinite, nonfinite_parameter
from .monitor import NOBODY, Monitor, Onlookers, ProgressLine
from .protocols import Agent, Demonstrations, Environment
from .rollout import Cursor, begin
from .runs import Row, Run, check_like, create_run, load_run, put_parameters
from .settings import Leaf, flatten, replace_at
from .stopping import Stopped, noting
from .tally import Tally, has_learnt, with_tasks
from .teacher import Teacher

LOST = 3  # iterations without a finite gradient after which a run gives up
MOST = 2**62  # upper bound on all counts
APART = 2**32  # between runs in the seeds of environments, so that no two draw the same layouts


@dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Attributes:
        frames, seconds: of training.
        success_rate: of the last episodes that count, NaN without any.
        window: how many these are.
        episodes: that ended, whether they count or not.
        path: its folder.
    """

    frames: int
    seconds: float
    success_rate: float
    window: int
    episodes: int
    path: Path


class Training:
    """The state of a run in training."""

    def __init__(
        self,
        config: RunConfig,
        env: Environment,
        agent: Agent,
        shown: Demonstrations | None = None,
        before: int = 0,
    ) -> None:
        self.env, self.agent = env, agent
        seed, self.until = config.run.seed, config.run.until
        self.teacher = Teacher(shown, agent, env, seed) if shown else None
        self.learner = Learner(
            agent, config.loops, config.algorithm, seed, env.device, self.teacher
        )
        self.settings = config.run
        self._iterate = iterating(self.learner, self.settings, env.device)
        curious = config.algorithm.novelty > 0
        first = (seed + 1) * APART + ranks.rank() * env.num_envs
        self.cursor = begin(env, agent, first, curious)
        self.tally, self.updates = Tally(len(env.level_ids), before), 0
        self._lost = 0  # iterations in a row without a finite gradient
        self._culprit = ""  # what was not finite in the last of them

    def iterate(self) -> Row:
        """One iteration and its figures, named as in Stable-Baselines3 where it has them."""
        before = time.perf_counter()
        iteration, cursor = self._iterate(self.env, self.cursor)
        # Reading the figures waits for the device.
        row = _row(self.figures(iteration))
        return self.after(iteration, cursor, row, time.perf_counter() - before)

    def figures(self, iteration: Iteration) -> dict[str, Tensor]:
        """An iteration's figures: each loop's losses, and the diagnostics."""
        figures = {
            f"train/{loop}/{name}": value
            for loop, losses in iteration.figures.items()
            for name, value in losses.items()
        }
        if self.learner.algorithm.novelty > 0:
            figures["rollout/novelty_mean"] = iteration.rollouts[-1].novelty.mean()
        return figures | diagnose(iteration.rollouts[-1])

    def after(self, iteration: Iteration, cursor: Cursor, figures: Row, seconds: float) -> Row:
        """Count an iteration of `seconds` that ended at `cursor`; returns its row of metrics."""
        self.cursor = cursor
        self.updates += iteration.updates
        row = figures | _means_over_loops(figures, list(iteration.figures))
        so_far = self.tally
        self.tally = so_far.after(iteration.rollouts, self.cursor, seconds)
        self._lost = self._lost + 1 if row["train/nonfinite"] == 1 else 0
        if self._lost:
            self._culprit = first_nonfinite(self.agent, iteration)
        row["time/fps"] = (self.tally.frames - so_far.frames) / seconds
        counted = self.tally.row(self.env.level_ids)
        return row | counted | {"train/n_updates": self.updates}

    def is_done(self, frames: int) -> bool:
        """Whether there are this many frames, or the run has reached its target success rate."""
        learnt = has_learnt(self.tally.row(self.env.level_ids), self.until)
        return learnt or self.tally.frames >= frames

    def is_lost(self) -> bool:
        """Whether the last `LOST` iterations had no finite gradient."""
        return self._lost >= LOST

    def lament(self) -> str:
        """The message about that."""
        return (
            f"no gradient was finite for {LOST} iterations, starting with {self._culprit}; "
            "the parameters were left unchanged: try a lower learning_rate"
        )

    def _own_tensors(self) -> dict[str, Tensor]:
        """The tensors that each rank has its own version of."""
        own = _cursor_tensors(self.cursor)
        own["generator"] = self.learner.generator.get_state().to(self.env.device)
        own["environments"] = self.env.state
        shown = self.teacher.tensors() if self.teacher is not None else {}
        return own | {f"teacher.{name}": x.to(self.env.device) for name, x in shown.items()}

    def checkpoint(self) -> Checkpoint:
        """The complete state, of every rank, for `restore`."""
        tensors = {f"agent.{name}": tensor for name, tensor in self.agent.state_dict().items()}
        moments = self.learner.optimizer.moments()
        for name, parameter in self.agent.named_parameters():
            for moment, tensor in moments.get(parameter, {}).items():
                tensors[f"adam.{name}.{moment}"] = tensor
        tensors |= {"recent": self.tally.recent, "waiting": self.tally.waiting}
        for name, tensor in self._own_tensors().items():
            for rank, each in enumerate(ranks.gather(tensor)):
                tensors[_of_rank(rank, name)] = each
        return Checkpoint(
            tensors,
            {
                "before": self.tally.before,
                "frames": self.tally.frames,
                "iterations": self.tally.iterations,
                "episodes": self.tally.episodes,
                "seconds": self.tally.seconds,
                "steps": self.tally.steps,
                "updates": self.updates,
                "ranks": ranks.size(),
                "success_rate": self.tally.success_rate if self.tally.is_fair() else 0.0,
            },
            self.agent.vocabulary,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state in a checkpoint.

        Raises:
            UsageError: it is of another agent, another number of ranks, or a different kind of run.
        """
        try:
            self._restore(checkpoint)
        except UsageError:
            raise
        except (LookupError, RuntimeError, TypeError, ValueError, OverflowError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"the checkpoint does not fit this run: {reason}") from None

    def _restore(self, checkpoint: Checkpoint) -> None:
        tensors, numbers = checkpoint.tensors, checkpoint.numbers
        check_between(0, MOST, **numbers)
        if numbers["ranks"] != ranks.size():
            made = int(numbers["ranks"])
            raise UsageError(f"the run has {made} ranks: resume it with --ranks {made}")
        own = {name: tensors[_of_rank(ranks.rank(), name)] for name in self._own_tensors()}
        own["generator"] = _state_for(self.learner.generator, own["generator"].cpu())
        for name, now in self._own_tensors().items():
            check_like(name, own[name], now)
        waiting, recent = (with_tasks(tensors[name]) for name in ("waiting", "recent"))
        check_like("waiting", waiting[:0], self.tally.waiting[:0])
        check_like("recent", recent[:0], self.tally.recent[:0])
        put_parameters(self.agent, checkpoint)
        moments = {}
        for name, parameter in self.agent.named_parameters():
            prefix = f"adam.{name}."
            moments[parameter] = {
                key.removeprefix(prefix): _grown(tensor, parameter).to(parameter.device)
                for key, tensor in tensors.items()
                if key.startswith(prefix)
            }
        self.learner.optimizer.restore(moments)
        self.learner.generator.set_state(own["generator"])
        if self.teacher is not None:
            self.teacher.restore({name: own[f"teacher.{name}"] for name in self.teacher.tensors()})
        frames = int(numbers["frames"])
        self.learner.frames.fill_(frames)
        self.updates = int(numbers["updates"])
        self.env.state = own["environments"].to(self.env.device)
        self.cursor = _cursor_from(self.cursor, own)
        self.tally = Tally(
            self.tally.tasks,
            int(numbers["before"]),
            frames,
            int(numbers["iterations"]),
            int(numbers["episodes"]),
            numbers["seconds"],
            int(numbers["steps"]),
            waiting,
            recent,
        )


def train(
    config: RunConfig,
    env: Environment,
    agent: Agent,
    shown: Demonstrations | None = None,
    onlookers: Onlookers = NOBODY,
) -> Summary:
    """Train `agent` in `env` for the run's frames, into a new folder.

    Args:
        config: the run's.
        env: its environments.
        agent: the agent to train.
        shown: demonstrations for its policy to imitate, instead of learning from its own actions.
        onlookers: callbacks during training.

    Raises:
        UsageError: the folder holds more than an untrained run, or the run to start from has
            another agent.
    """
    training = from_the_start(config, env, agent, shown)
    with _created(config) as run:
        keep(run, training)
        return _go_on(run, training, onlookers)


def from_the_start(
    config: RunConfig, env: Environment, agent: Agent, shown: Demonstrations | None = None
) -> Training:
    """A run before its first iteration, with another run's parameters if it starts from one."""
    before = begin_from(load_run(config.run.origin), config, agent) if config.run.origin else 0
    return Training(config, env, agent, shown, before)


def _created(config: RunConfig) -> AbstractContextManager[Run]:
    """Makes and holds the run's folder, on rank 0."""
    elsewhere = Run(Path(config.run.out), config)
    return create_run(config) if ranks.rank() == 0 else nullcontext(elsewhere)


def _held(run: Run) -> AbstractContextManager[None]:
    """Holds the run's folder, on rank 0."""
    return run.held() if ranks.rank() == 0 else nullcontext()


def begin_from(origin: Run, config: RunConfig, agent: Agent) -> int:
    """Load another run's parameters into `agent`; returns the frames they have learnt from.

    Raises:
        UsageError: its agent differs.
    """
    theirs = _leaves_of_agent(origin.config)
    for path, leaf in _leaves_of_agent(config).items():
        if (other := theirs.get(path, "absent")) != leaf:
            raise UsageError(
                f"{origin.path} has another agent: {path} is {other} there, {leaf} here"
            )
    checkpoint = origin.load()
    put_parameters(agent, checkpoint)
    return int(checkpoint.numbers["frames"] + checkpoint.numbers["before"])


def _leaves_of_agent(config: RunConfig) -> dict[str, Leaf]:
    """The settings that determine an agent's parameters, by path."""
    seen = config.environment
    return {"observation": seen.observation, "view": seen.view, **flatten(config.agent)}


def resume(
    run: Run,
    env: Environment,
    agent: Agent,
    shown: Demonstrations | None = None,
    onlookers: Onlookers = NOBODY,
    frames: int | None = None,
) -> Summary:
    """Continue a run from its newest whole checkpoint, to `frames` or as planned; one that was cut
    off before its first checkpoint starts again. Its configuration then is that of a run that was
    planned so.

    On the CPU the result equals the uninterrupted run's bit for bit.

    Raises:
        UsageError: there is no whole checkpoint, or it is of another agent.
    """
    planned = replace_at(run.config, {"frames": frames or run.config.run.frames})
    run = replace(run, config=planned)
    with _held(run):
        if run.has_begun():
            training = Training(run.config, env, agent, shown)
            training.restore(run.load())
        else:
            note(f"{run.path} was cut off before its first checkpoint: starting again")
            training = from_the_start(run.config, env, agent, shown)
            keep(run, training)
        if ranks.rank() == 0:
            run.record_plans()
            run.forget_metrics_after(training.tally.frames, training.tally.iterations)
        return _go_on(run, training, onlookers)


def _grown(moment: Tensor, parameter: Tensor) -> Tensor:
    """A moment, with rows of zeros for those that the parameter gained: vocabularies grow."""
    if moment.dim() == 0 or moment.shape == parameter.shape:
        return moment
    missing = len(parameter) - len(moment)
    grown = torch.cat([moment, moment.new_zeros(missing, *moment.shape[1:])])
    check_like("a moment", grown, parameter)
    return grown


def _go_on(run: Run, training: Training, onlookers: Onlookers) -> Summary:
    """Train, with rank 0 saving and showing progress.

    On a signal, the current iteration is completed and saved, and `Stopped` raised.
    """
    begun_at, frames = training.tally.frames, run.config.run.frames
    clock = Clock(begun_at, run.config.run.checkpoint_frames)
    with noting() as told, _shown(run, training.agent, begun_at, frames, onlookers) as report:
        done = training.is_done(frames)
        while not done:
            row = training.iterate()
            done = training.is_done(frames)
            report(row, done)
            due, stop = clock.is_due(training.tally.frames), is_to_stop(told)
            if due or stop or training.is_lost() or done:
                clock.saved(keep(run, training))
            if training.is_lost():
                raise UsageError(f"{run.path}: {training.lament()}")
            if stop:
                raise Stopped(told.number or signal.SIGTERM)
    return summary_of(run, training)


def summary_of(run: Run, training: Training) -> Summary:
    """A run's outcome so far."""
    tally = training.tally
    return Summary(
        tally.frames,
        tally.seconds,
        tally.success_rate,
        len(tally.recent),
        tally.episodes,
        run.path,
    )


@contextmanager
def _shown(
    run: Run, agent: Agent, begun_at: int, frames: int, onlookers: Onlookers
) -> Iterator[Callable[[Row, bool], None]]:
    """A function that reports, on rank 0, an iteration's figures, given whether it was the last."""
    if ranks.rank() > 0:
        yield lambda row, last: None
        return
    monitor, line = Monitor(run, agent, begun_at, onlookers), ProgressLine(begun_at, frames)

    def report(row: Row, last: bool) -> None:
        line.show([row], frames)
        monitor.report(row, last)

    with closing(line), closing(monitor):
        yield report
        monitor.look(last=True)


def keep(run: Run, training: Training) -> int:
    """Checkpoint all ranks; returns the frames. `UsageError` if a parameter is not finite."""
    if lost := nonfinite_parameter(training.agent):
        raise UsageError(
            f"{run.path}: {lost} is not finite after {training.tally.frames} frames, so it "
            "was not saved; earlier checkpoints are intact: try a lower learning_rate"
        )
    checkpoint = training.checkpoint()
    if ranks.rank() == 0:
        run.save(training.tally.frames, checkpoint)
    return training.tally.frames


def _row(figures: dict[str, Tensor]) -> Row:
    """Means of figures over ranks, read off the device all at once."""
    means = ranks.mean(torch.stack([value.double() for value in figures.values()]))
    return dict(zip(figures, means.tolist(), strict=True))


def _means_over_loops(row: Row, loops: Sequence[str]) -> Row:
    """The loops' mean losses, under Stable-Baselines3's names."""
    names = [name.split("/")[2] for name in row if name.startswith(f"train/{loops[0]}/")]
    return {
        f"train/{name}": sum(row[f"train/{loop}/{name}"] for loop in loops) / len(loops)
        for name in names
    }


def _state_for(generator: torch.Generator, saved: Tensor) -> Tensor:
    """A generator's saved state, uint8 [n]; one seeded by it if it is of another kind of device."""
    if saved.shape == generator.get_state().shape or saved.dim() != 1:
        return saved
    digest = hashlib.sha256(bytes(saved.tolist())).digest()
    seed = int.from_bytes(digest[:7], "big")
    return torch.Generator(generator.device).manual_seed(seed).get_state()


def _of_rank(rank: int, name: str) -> str:
    """The name in a checkpoint of a tensor that each rank has its own version of."""
    return f"rank{rank}.{name}" if rank else name


def _cursor_tensors(cursor: Cursor) -> dict[str, Tensor]:
    tensors = {f"cursor.obs.{name}": tensor for name, tensor in cursor.obs.items()}
    tensors |= {f"cursor.state.{i}": tensor for i, tensor in enumerate(cursor.state)}
    own = ("starts", "so_far", "seen")
    return tensors | {f"cursor.{name}": getattr(cursor, name) for name in own}


def _cursor_from(like: Cursor, tensors: dict[str, Tensor]) -> Cursor:
    device = like.starts.device
    return replace(
        like,
        obs={name: tensors[f"cursor.obs.{name}"].to(device) for name in like.obs},
        state=tuple(tensors[f"cursor.state.{i}"].to(device) for i in range(len(like.state))),
        starts=tensors["cursor.starts"].to(device),
        so_far=tensors["cursor.so_far"].to(device),
        seen=tensors["cursor.seen"].to(device),
    )
