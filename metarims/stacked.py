"""Runs that differ only in their seed, trained at once: their parameters are stacked, and every
product is batched over them.

Each run draws the random numbers that it would alone, and has its own gradient, clipping norm and
Adam steps, so its result is what it would be alone, up to rounding. `torch.func.vmap` maps over the
agents.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from .algorithms import Loss
from .errors import UsageError
from .learner import Iteration, Learner
from .loops import Loop
from .optimizer import Moments
from .protocols import Agent, Environment, Observation, Output, State
from .rollout import Cursor, Rollout, batch_axis
from .sequences import Sequences, cut, in_parts, shuffled, with_current_log_probs

Parameters = Mapping[str, Tensor]
Result = TypeVar("Result")


class StackedAgent(nn.Module):
    """Several agents as one, with their environments side by side: an `Agent` for runs · B of them.

    Args:
        agents: torch modules that differ only in their parameters.
    """

    def __init__(self, agents: Sequence[Agent]) -> None:
        super().__init__()
        self.agents = list(agents)
        self.within = Within(cast(nn.Module, copy.deepcopy(agents[0])))
        for each in zip(*(agent.named_parameters() for agent in agents), strict=True):
            owner, _, name = each[0][0].rpartition(".")
            stacked = torch.stack([parameter.detach() for _, parameter in each])
            setattr(self.within.agent.get_submodule(owner), name, nn.Parameter(stacked))

    @property
    def runs(self) -> int:
        """Number of agents."""
        return len(self.agents)

    @property
    def vocabulary(self) -> Sequence[str]:
        """The vocabulary of all of them."""
        return self.agents[0].vocabulary

    @property
    def form(self) -> str:
        """The form that they run in, if they have one."""
        found = []

        def look(parameters: Parameters) -> Tensor:
            found.append(self.as_one(parameters, lambda agent: getattr(agent, "form", "")))
            return torch.empty(0)

        vmap(look)(self.parameters_by_name)
        return found[0]

    @property
    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """All agents' parameters, [runs, ...], by their names in an agent."""
        return dict(self.within.agent.named_parameters())

    def share(self) -> None:
        """Make each agent's parameters views of the stack's."""
        stacked = self.parameters_by_name
        for k, agent in enumerate(self.agents):
            for name, parameter in agent.named_parameters():
                parameter.data = stacked[name].data[k]

    def as_one(self, parameters: Parameters, function: Callable[[Agent], Result]) -> Result:
        """Apply a function to one of the agents, with these parameters for the time being."""
        own = {f"agent.{name}": parameter for name, parameter in parameters.items()}
        return cast(Result, functional_call(self.within, own, (function,)))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The stacked parameters, [runs, ...], by group."""
        return cast(Agent, self.within.agent).groups()

    def initial_state(self, batch: int) -> State:
        """Every agent's initial state, side by side."""
        states = [agent.initial_state(batch // self.runs) for agent in self.agents]
        return tuple(map(torch.cat, zip(*states, strict=True)))

    def forward(self, obs: Observation, state: State, starts: Tensor) -> Output:
        """As `Agent`, but without the agents' own losses, which are each run's own."""

        def act(parameters: Parameters, *given: Any) -> tuple[Any, ...]:
            output = self.as_one(parameters, lambda agent: agent(*given))
            return output.logits, output.value, output.diagnostics, output.replay, output.state

        axes = (1, 1, 1, 1, 0)  # of the environments
        with stackable():
            found = vmap(act, (0, 1, 0, 1), axes)(
                self.parameters_by_name,
                _apart(obs, 1, self.runs),
                _apart(state, 0, self.runs),
                _apart(starts, 1, self.runs),
            )
        logits, value, diagnostics, replay, after = map(_together, found, axes)
        return Output(logits, value, after, diagnostics, replay)


class Within(nn.Module):
    """Holds an agent whose parameters are replaced by others."""

    def __init__(self, agent: nn.Module) -> None:
        super().__init__()
        self.agent = agent

    def forward(self, function: Callable[[nn.Module], object]) -> object:
        """Apply a function to the agent."""
        return function(self.agent)


class StackedLearner(Learner):
    """Several learners as one.

    Args:
        learners: of runs that differ only in their seed, after equally many frames. Their agents'
            parameters become views of the stack's, and their generators are drawn from.

    Attributes:
        resting: bool [runs], those that no longer learn.
    """

    agent: StackedAgent

    def __init__(self, learners: Sequence[Learner], device: torch.device) -> None:
        first, runs = learners[0], len(learners)
        agent = StackedAgent([learner.agent for learner in learners])
        super().__init__(agent, first.loops, first.algorithm, 0, device, runs=runs)
        self.learners = list(learners)
        self.frames.copy_(first.frames)
        self.resting = torch.zeros(runs, dtype=torch.bool, device=device)
        self.optimizer.restore(self._stacked_moments())
        agent.share()

    def iterate(self, env: Environment, cursor: Cursor) -> tuple[Iteration, Cursor]:
        """As for a single run, with the environments of all side by side; figures are [runs]."""
        with warnings.catch_warnings():  # gradients have the parameters' layout, in rows
            warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout")
            return super().iterate(env, cursor)

    @property
    def generators(self) -> list[torch.Generator]:
        """All runs' generators."""
        return [learner.generator for learner in self.learners]

    def give_back(self) -> None:
        """Copy the frame count and optimisers' moments to the learners, which share the rest."""
        moments, stacked = self.optimizer.moments(), self.agent.parameters_by_name
        for k, learner in enumerate(self.learners):
            own = {
                parameter: {key: x[k] for key, x in moments.get(stacked[name], {}).items()}
                for name, parameter in learner.agent.named_parameters()
            }
            learner.optimizer.restore(own)
            learner.frames.copy_(self.frames)

    def _stacked_moments(self) -> dict[nn.Parameter, Moments]:
        """The learners' moments, [runs, ...]."""
        known = [
            {name: moments.get(p, {}) for name, p in learner.agent.named_parameters()}
            for learner in self.learners
            for moments in [learner.optimizer.moments()]
        ]
        return {
            parameter: {key: torch.stack([own[name][key] for own in known]) for key in first}
            for name, parameter in self.agent.parameters_by_name.items()
            for first in [known[0][name]]
        }

    def _sequences(self, rollout: Rollout, loop: Loop) -> Sequences:
        """As for a single run, [runs, ...]."""

        def one(own: dict[str, Any]) -> dict[str, Any]:
            alone = Rollout(**own, stride=rollout.stride)
            return vars(cut(alone, *self.algorithm.targets(alone), loop.span))

        with stackable():
            return Sequences(**vmap(one)(_stacked(rollout, self.agent.runs)))

    def _with_current_log_probs(self, sequences: Sequences, parts: int) -> Sequences:
        def one(parameters: Parameters, own: dict[str, Any]) -> Tensor:
            alone = Sequences(**own)
            again = self.agent.as_one(
                parameters, lambda agent: with_current_log_probs(agent, alone, parts)
            )
            return again.log_probs

        log_probs: Tensor = vmap(one)(self.agent.parameters_by_name, vars(sequences))
        return replace(sequences, log_probs=log_probs)

    def _minibatches(self, sequences: Sequences, loop: Loop) -> Iterator[Sequences]:
        def one(own: dict[str, Any], rows: Tensor) -> dict[str, Any]:
            return vars(Sequences(**own).take(rows))

        count, device = sequences.task.shape[1], sequences.task.device
        orders = [shuffled(count, generator, device) for generator in self.generators]
        for rows in in_parts(torch.stack(orders), loop.minibatches):
            yield Sequences(**vmap(one)(vars(sequences), rows))

    def _loss(self, agent: Agent, batch: Sequences, loop: Loop) -> Loss:
        """Each run's loss, [runs]."""
        of_one = super()._loss

        def one(parameters: Parameters, own: dict[str, Any]) -> tuple[Any, ...]:
            alone = Sequences(**own)
            loss = self.agent.as_one(parameters, lambda agent: of_one(agent, alone, loop))
            never = torch.zeros_like(loss.total, dtype=torch.bool)
            return loss.total, loss.figures, never if loss.skip is None else loss.skip

        with stackable():
            total, figures, skip = vmap(one)(self.agent.parameters_by_name, vars(batch))
        return Loss(total, figures, skip | self.resting)


def each_run(iteration: Iteration, runs: int) -> list[Iteration]:
    """A stack's iteration, split by run."""
    rollouts = [(_stacked(rollout, runs), rollout.stride) for rollout in iteration.rollouts]

    def one(k: int) -> Iteration:
        figures = tree_map(lambda x: x[k], iteration.figures)
        own = [
            Rollout(**tree_map(lambda x: x[k], stacked), stride=stride)
            for stacked, stride in rollouts
        ]
        return Iteration(own, figures, iteration.updates)

    return [one(k) for k in range(runs)]


@contextmanager
def stackable() -> Iterator[None]:
    """Refuse what cannot be mapped over.

    Raises:
        UsageError: something within has data-dependent control flow, draws at random or the like.
    """
    try:
        yield
    except RuntimeError as error:
        if "vmap" not in str(error) and "atching rule" not in str(error):
            raise
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UsageError(
            f"this agent or algorithm cannot be stacked ({reason}): with --stacked no the runs "
            "train in parallel"
        ) from error


def _stacked(rollout: Rollout, runs: int) -> dict[str, Any]:
    """A rollout's tensors, [runs, T, B, ...] or [runs, B], by field, as views."""

    def run_first(x: Tensor) -> Tensor:
        axis = batch_axis(x)
        moved: Tensor = _apart(x, axis, runs).movedim(axis, 0)
        return moved

    own = {name: value for name, value in vars(rollout).items() if name != "stride"}
    return cast(dict[str, Any], tree_map(run_first, own))


def _apart(given: Any, axis: int, runs: int) -> Any:
    """Tensors with an axis of runs before that of environments."""
    return tree_map(lambda x: x.unflatten(axis, (runs, -1)), given)


def _together(given: Any, axis: int) -> Any:
    """The inverse of `_apart`."""
    return tree_map(lambda x: x.flatten(axis, axis + 1), given)
