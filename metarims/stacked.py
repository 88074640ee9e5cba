"""Runs that differ in their seed alone, learning at once: their parameters stacked, and every
product batched over them.

Each run draws what it would draw alone, and has its own gradient, its own norm to clip that by and
its own steps of Adam's, so that it is what it would be alone, to rounding. Agents are mapped over
by `torch.func.vmap`.
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
        agents: torch modules, alike but for their parameters.
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
        """How many agents there are."""
        return len(self.agents)

    @property
    def vocabulary(self) -> Sequence[str]:
        """Every one's."""
        return self.agents[0].vocabulary

    @property
    def form(self) -> str:
        """How they run, where they say so."""
        found = []

        def look(parameters: Parameters) -> Tensor:
            found.append(self.as_one(parameters, lambda agent: getattr(agent, "form", "")))
            return torch.empty(0)

        vmap(look)(self.parameters_by_name)
        return found[0]

    @property
    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """All agents', [runs, ...], as each agent calls them."""
        return dict(self.within.agent.named_parameters())

    def share(self) -> None:
        """Have each agent's parameters be its part of the stack's from now on."""
        stacked = self.parameters_by_name
        for k, agent in enumerate(self.agents):
            for name, parameter in agent.named_parameters():
                parameter.data = stacked[name].data[k]

    def as_one(self, parameters: Parameters, function: Callable[[Agent], Result]) -> Result:
        """What a function makes of one of the agents, which has these parameters meanwhile."""
        own = {f"agent.{name}": parameter for name, parameter in parameters.items()}
        return cast(Result, functional_call(self.within, own, (function,)))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The stacked parameters, [runs, ...], by group."""
        return cast(Agent, self.within.agent).groups()

    def initial_state(self, batch: int) -> State:
        """Every agent's, side by side."""
        states = [agent.initial_state(batch // self.runs) for agent in self.agents]
        return tuple(map(torch.cat, zip(*states, strict=True)))

    def forward(self, obs: Observation, state: State, starts: Tensor) -> Output:
        """As `Agent` says, but for a loss of the agents' own: each run's is its own affair."""

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
    """Where an agent has other parameters than its own."""

    def __init__(self, agent: nn.Module) -> None:
        super().__init__()
        self.agent = agent

    def forward(self, function: Callable[[nn.Module], object]) -> object:
        """What the function makes of the agent."""
        return function(self.agent)


class StackedLearner(Learner):
    """Several learners as one.

    Args:
        learners: of runs that differ in their seed alone, after as many frames; from now on their
            agents' parameters are parts of the stack's, and from their generators is drawn.

    Attributes:
        resting: bool [runs], those that learn no more.
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
        """As a run alone, with the environments of all side by side; figures are [runs]."""
        with warnings.catch_warnings():  # gradients lie in rows, just as the parameters do
            warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout")
            return super().iterate(env, cursor)

    @property
    def generators(self) -> list[torch.Generator]:
        """All runs'."""
        return [learner.generator for learner in self.learners]

    def give_back(self) -> None:
        """Let the learners have how many frames there were, and their optimisers' moments; all else
        is theirs already.
        """
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
        """As of a run alone, [runs, ...]."""

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
        """Each run's, [runs]."""
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
    """What a stack's iteration was for each of its runs."""
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
    """What cannot be mapped over is refused.

    Raises:
        UsageError: something within it looks at a number, draws at random or the like.
    """
    try:
        yield
    except RuntimeError as error:
        if "vmap" not in str(error) and "atching rule" not in str(error):
            raise
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UsageError(
            f"this agent or algorithm cannot be stacked ({reason}): with --stacked no its runs "
            "train side by side"
        ) from error


def _stacked(rollout: Rollout, runs: int) -> dict[str, Any]:
    """A rollout's tensors, [runs, T, B, ...] or [runs, B], by field; they share its memory."""

    def run_first(x: Tensor) -> Tensor:
        axis = batch_axis(x)
        moved: Tensor = _apart(x, axis, runs).movedim(axis, 0)
        return moved

    own = {name: value for name, value in vars(rollout).items() if name != "stride"}
    return cast(dict[str, Any], tree_map(run_first, own))


def _apart(given: Any, axis: int, runs: int) -> Any:
    """Tensors with an axis of runs before that of their environments."""
    return tree_map(lambda x: x.unflatten(axis, (runs, -1)), given)


def _together(given: Any, axis: int) -> Any:
    """What `_apart` was given."""
    return tree_map(lambda x: x.flatten(axis, axis + 1), given)
