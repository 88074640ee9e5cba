"""What training requires of agents and environments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .settings import Variant

Observation = dict[str, Tensor]
State = tuple[Tensor, ...]
Diagnostics = dict[str, Tensor]

GROUPS = ("encoder", "modules", "attention", "policy", "value")


@dataclass(frozen=True)
class Output:
    """An agent's output for T steps of B environments.

    Attributes:
        logits: [T, B, A].
        value: [T, B].
        state: after step T, a tuple of tensors [B, ...].
        diagnostics: by name, [T, B, ...]; ``module_mask`` and ``module_probabilities`` if there are
            modules. `metarims.diagnostics` says how they are reported.
        replay: by name, [T, B, ...]: choices to repeat when learning from these steps; they come
            back among the observations.
        loss: the agent's own loss for these steps, given their normalised advantages [T, B]; it is
            added to the algorithm's.
    """

    logits: Tensor
    value: Tensor
    state: State
    diagnostics: Diagnostics = field(default_factory=dict)
    replay: dict[str, Tensor] = field(default_factory=dict)
    loss: Callable[[Tensor], Tensor] | None = None


Act = Callable[[Observation, State, Tensor], Output]  # an agent's forward pass


class Agent(Protocol):
    """A policy and a value with explicit hidden state.

    Optional: a string `form`, the form that the agent runs in, printed before training; and a
    method `acting`, without arguments, for agents that can prepare something while their parameters
    stay the same. It returns an `Act` to be called like the agent, without gradients and only until
    the parameters change.
    """

    @property
    def vocabulary(self) -> Sequence[str]:
        """The words of missions by token, as the agent was built to read them."""

    def initial_state(self, batch: int) -> State:
        """The state before the first step, a tuple of tensors [batch, ...]."""

    def __call__(self, obs: Observation, state: State, starts: Tensor) -> Output:
        """Run T steps.

        Args:
            obs: [T, B, ...] by name: the environment's; ``last_action`` int64 and ``last_reward``
                float32 of the step before; ``task`` int64, the level's index; and, when learning,
                the contents of `Output.replay`.
            state: before the first step.
            starts: bool [T, B]; where an episode begins, the state is reset before the step.
        """

    @property
    def training(self) -> bool:
        """As of `torch.nn.Module`; else a router takes its best choices, without exploring."""

    def train(self, mode: bool = True) -> object:
        """As `torch.nn.Module.train`."""

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by group: "encoder", "modules", "attention", "policy", "value"."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As `torch.nn.Module.named_parameters`."""

    def state_dict(self) -> dict[str, Tensor]:
        """As `torch.nn.Module.state_dict`."""

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object:
        """As `torch.nn.Module.load_state_dict`."""


class Spec(Protocol):
    """What an agent needs to know about its environments."""

    num_actions: int
    device: torch.device
    level_ids: list[str]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of an observation's image, without the batch."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The words of missions by token; token 0 is padding."""

    @property
    def one_mission(self) -> bool:
        """Whether the mission is the same in all environments and episodes."""


@dataclass(frozen=True)
class AgentConfig(Variant):
    """An agent's settings, which build it; kinds of agents are found by name."""

    kind: ClassVar[str] = "agent"

    @property
    def stacks(self) -> bool:
        """Whether runs that differ only in their seed can train at once: `torch.func.vmap` maps
        over such agents, which use PyTorch operations only and no data-dependent control flow.
        """
        return True

    def make(self, spec: Spec, seed: int = 0, levels: Sequence[str] = ()) -> Agent:
        """The agent on the environments' device, with fresh parameters.

        Args:
            spec: the environments, or anything with their ``num_actions``, ``image_shape``,
                ``vocabulary``, ``one_mission``, ``level_ids`` and ``device``.
            seed: of the initial parameters; the global random state is left alone.
            levels: the agent's training levels, if not the environments'.
        """
        raise NotImplementedError

    def lesions(self, count: int) -> dict[str, AgentConfig]:
        """The agent with modules switched off, by description: `count` of the active ones, drawn
        anew at each step; and each module in turn, throughout. Empty if there are no modules.
        """
        return {}


class Step(Protocol):
    """The result of a batched step; where an episode ended, `obs` is the first of the next one."""

    @property
    def obs(self) -> Observation:
        """Observations to act on next, [B, ...] by name."""

    @property
    def reward(self) -> Tensor:
        """float32 [B]."""

    @property
    def terminated(self) -> Tensor:
        """bool [B]; the episode ended by its rules."""

    @property
    def truncated(self) -> Tensor:
        """bool [B]; the episode ran out of steps."""

    @property
    def task(self) -> Tensor:
        """int64 [B], each environment's level."""

    @property
    def final_obs(self) -> Observation:
        """Observations that the actions led to, even the last of an episode, [B, ...] by name."""


class Environment(Protocol):
    """A batch of environments that start a new episode in the same step that ends one."""

    num_envs: int
    device: torch.device
    level_ids: list[str]
    task: Tensor  # int64 [B], each environment's level
    state: Tensor

    @property
    def situations(self) -> Tensor:
        """Where each agent stands and what it carries, int64 [B], equal for equal situations."""

    def reset(self, seed: int | None = None) -> Observation:
        """Reset environment i with seed + i, or from its current stream; [B, ...] by name."""

    def step(self, actions: Tensor) -> Step:
        """Step all environments; actions int64 [B]."""


class Stage(Environment, Spec, Protocol):
    """Environments that can be rendered."""

    mission_length: int

    def render(self, i: int = 0) -> np.ndarray:
        """Picture of environment i, uint8 [H, W, 3]."""

    def missions(self) -> list[str]:
        """Each environment's mission, in words."""


class MakeEnvironments(Protocol):
    """Makes a batch of environments; `ValueError` if the arguments are invalid."""

    def __call__(
        self,
        ids: list[str],
        *,
        num_envs: int,
        device: str,
        seed: int,
        autoreset: bool,
        part: tuple[int, int],
        observation: str,
        view: int,
        max_steps: int | None,
    ) -> Stage:
        """Environments of the levels `ids`, in equal shares, or the k-th of n parts of them,
        `part`; observations are "symbolic" or "rgb" images of `view` cells to a side. Episodes are
        truncated after `max_steps`, or at the levels' own limits if that is None.
        """


class Demonstrations(Protocol):
    """Episodes one after another, N steps in total."""

    @property
    def level(self) -> str:
        """The id of their level, or "" if unknown."""

    @property
    def obs(self) -> Observation:
        """Observations before each step, [N, ...] by name, as environments give them."""

    @property
    def actions(self) -> Tensor:
        """int64 [N]."""

    @property
    def rewards(self) -> Tensor:
        """float32 [N]."""

    @property
    def ends(self) -> Tensor:
        """bool [N], whether an episode ends with this step."""

    @property
    def digest(self) -> str:
        """Hexadecimal digest of the data."""


class Demonstrate(Protocol):
    """Records an expert on a level; `ValueError` if that is impossible."""

    def __call__(
        self,
        folder: Path,
        id: str,
        *,
        name: str,
        episodes: int,
        seed: int,
        observation: str,
        workers: int,
        report: Callable[[int, Counter[str]], None],
    ) -> None:
        """Write `episodes` successful episodes, with seeds from `seed` on, into a new folder, as a
        dataset called `name`, with `workers` processes. After each seed, `report` gets the number
        of episodes so far and the number of skipped seeds by reason.
        """


class Simulator(Protocol):
    """A package of environments."""

    @property
    def make(self) -> MakeEnvironments:
        """Makes a batch of environments."""

    @property
    def demonstrate(self) -> Demonstrate:
        """Records demonstrations."""

    def read_level(self, folder: Path) -> str:
        """The id of the demonstrations' level, or ""; `ValueError` if they cannot be read."""

    @property
    def read_demonstrations(self) -> Callable[[Path, Stage], Demonstrations]:
        """Reads demonstrations, as environments would show them; `ValueError` if it cannot."""

    def levels(self) -> list[str]:
        """The ids of all levels."""

    def check_level(self, id: str) -> None:
        """Raise `ValueError` if there is no such level."""

    def find_events(self, obs: Observation) -> dict[str, Tensor]:
        """Events visible in observations [T, B, ...], e.g. facing a door, bool [T, B] by name."""
