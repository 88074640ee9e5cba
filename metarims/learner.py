"""The training iteration: Algorithm 1 of Madan et al. 2021, for any algorithm's loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from . import ranks
from .algorithms import AlgorithmConfig, Figures, Loss
from .errors import UsageError
from .loops import Loop, Loops
from .optimizer import GroupedAdam, clip_gradients
from .protocols import Agent, Environment
from .rollout import Cursor, Rollout, collect_rollout
from .sequences import Sequences, cut, minibatches, with_current_log_probs
from .teacher import Teacher


@dataclass(frozen=True)
class Iteration:
    """The outcome of an iteration: its rollouts, the mean of each loss figure by loop, and the
    number of updates.
    """

    rollouts: list[Rollout]
    figures: dict[str, Figures]
    updates: int


class Learner:
    """An agent with its optimiser, loops and algorithm.

    With a teacher, it also learns from demonstrations, from as many steps as it takes itself. With
    `runs`, the agent is a stack of that many, see `metarims.stacked`.
    """

    def __init__(
        self,
        agent: Agent,
        loops: Loops,
        algorithm: AlgorithmConfig,
        seed: int,
        device: torch.device,
        teacher: Teacher | None = None,
        runs: int = 0,
    ) -> None:
        self.agent, self.loops, self.algorithm = agent, loops, algorithm
        self.teacher = teacher
        self._check_ranks()
        loops.check_learning(agent.groups())
        self.optimizer = GroupedAdam(agent.groups(), runs)
        self.generator = ranks.own_generator(device, seed)
        self.frames = torch.zeros((), dtype=torch.int64, device=device)

    def iterate(self, env: Environment, cursor: Cursor) -> tuple[Iteration, Cursor]:
        """One pass of Algorithm 1's while loop: lines 3 to 9."""
        rollouts, figures, updates = [], {}, 0
        for name, loop in self.loops.turns():  # the fast one, then the slow one; or joint training
            if loop.data == "fresh":
                rollout, cursor = self._sample_trajectories(env, cursor)
                rollouts.append(rollout)
                if self.teacher is not None:
                    rollout = self.teacher.lesson(self.agent, rollout)
            sequences = self._sequences(rollout, loop)
            if loop.data == "reuse":
                sequences = self._with_current_log_probs(sequences, loop.minibatches)
            self._release(loop)
            seen = [
                self._learn(loop, batch)
                for task in self._tasks(sequences, loop)
                for _ in range(loop.epochs)
                for batch in self._minibatches(task, loop)
            ]
            figures[name] = _means(seen)
            updates += len(seen)
        ranks.average(self.agent.state_dict().values())  # also what gradients do not train
        return Iteration(rollouts, figures, updates), cursor

    @property
    def generators(self) -> list[torch.Generator]:
        """The generators to draw from, one per run."""
        return [self.generator]

    def _check_ranks(self) -> None:
        """Refuse what several ranks cannot train together."""
        if ranks.size() == 1:
            return
        if any(loop.per_task for _, loop in self.loops.turns()):
            raise UsageError("per_task needs a single rank: a rank may lack environments of a task")
        for name, tensor in self.agent.state_dict().items():
            if not tensor.is_floating_point():
                raise UsageError(
                    f"this agent needs a single rank: {name} cannot be averaged over several"
                )

    def _sample_trajectories(self, env: Environment, cursor: Cursor) -> tuple[Rollout, Cursor]:
        """Collect a rollout, and count its frames, per run."""
        together = self.loops.steps * env.num_envs * ranks.size()
        self.frames += together // len(self.generators)
        return collect_rollout(
            env, self.agent, cursor, self.loops.steps, self.loops.stride, *self.generators
        )

    def _sequences(self, rollout: Rollout, loop: Loop) -> Sequences:
        return cut(rollout, *self.algorithm.targets(rollout), loop.span)

    def _with_current_log_probs(self, sequences: Sequences, parts: int) -> Sequences:
        return with_current_log_probs(self.agent, sequences, parts)

    def _minibatches(self, sequences: Sequences, loop: Loop) -> Iterator[Sequences]:
        return minibatches(sequences, loop.minibatches, self.generator)

    def _loss(self, agent: Agent, batch: Sequences, loop: Loop) -> Loss:
        output = agent(batch.obs, batch.state, batch.starts)
        return self.algorithm.loss(output, batch, loop)

    def _tasks(self, sequences: Sequences, loop: Loop) -> Iterator[Sequences]:
        """The data of each inner step in turn: one task's, or all at once."""
        if not loop.per_task:
            yield sequences
            return
        for task in torch.unique(sequences.task):
            yield sequences.take(torch.nonzero(sequences.task == task).squeeze(1))

    def _release(self, loop: Loop) -> None:
        """Set the learning rates of the loop's groups, and freeze all others."""
        rates = {name: loop.learning_rate * loop.rate_factor(name) for name in loop.groups}
        annealed = 1 - self.frames.double() / self.algorithm.anneal_frames
        self.optimizer.set_rates(rates, annealed.clamp_min(0.1))

    def _learn(self, loop: Loop, batch: Sequences) -> Figures:
        """One gradient step on the algorithm's loss."""
        loss = self._loss(self.agent, batch, loop)
        loss.total.sum().backward()  # stacked runs share no parameters
        learning = self.optimizer.take_gradients(loop.groups)
        ranks.average(x.grad for x in learning if x.grad is not None)
        norm = clip_gradients(learning, self.algorithm.max_grad_norm)
        lost = ~torch.isfinite(norm)
        skip = lost if loss.skip is None else loss.skip | lost
        self.optimizer.step(skip)
        figures = {"loss": loss.total, **loss.figures, "skipped": skip.float()}
        figures["nonfinite"] = lost.float()
        return {name: figure.detach() for name, figure in figures.items()} | {"gradient_norm": norm}


def nonfinite_parameter(agent: Agent) -> str:
    """An agent's first parameter with non-finite values; "" if there is none."""
    wrong = (name for name, value in agent.named_parameters() if not value.isfinite().all())
    return next(wrong, "")


def first_nonfinite(agent: Agent, iteration: Iteration) -> str:
    """The cause of a non-finite gradient: the first thing behind the loss, in causal order, that
    has non-finite values.
    """
    if parameter := nonfinite_parameter(agent):
        return f"the parameter {parameter}"
    for name in ("rewards", "log_probs", "values"):
        if not all(getattr(rollout, name).isfinite().all() for rollout in iteration.rollouts):
            return f"a rollout's {name}"
    return "the loss or its gradient"


def _means(figures: list[Figures]) -> Figures:
    """The mean of each figure over minibatches and ranks."""
    means = [torch.stack([row[name] for row in figures]).mean(0) for name in figures[0]]
    return dict(zip(figures[0], ranks.mean(torch.stack(means)).unbind(), strict=True))
