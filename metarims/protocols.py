"""What learning asks of an agent and of environments, and nothing more."""

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
    """What an agent gives for T steps of B environments.

    Attributes:
        logits: [T, B, A].
        value: [T, B].
        state: after step T, a tuple of tensors [B, ...].
        diagnostics: by name, [T, B, ...]; ``module_mask`` and ``module_probabilities`` where there
            are modules. See `metarims.diagnostics` for what becomes of them.
        replay: by name, [T, B, ...]: choices that learning from these steps has to repeat; it
            finds them among the observations.
        loss: the agent's own loss for these steps, of their normalised advantages [T, B]; it is
            added to PPO's.
    """

    logits: Tensor
    value: Tensor
    state: State
    diagnostics: Diagnostics = field(default_factory=dict)
    replay: dict[str, Tensor] = field(default_factory=dict)
    loss: Callable[[Tensor], Tensor] | None = None


Act = Callable[[Observation, State, Tensor], Output]  # what an agent does when called


class Agent(Protocol):
    """A policy and a value over hidden state that is argument and result.

    One that can run in several forms may have a string `form`, which training begins by saying. One
    that need not work everything out anew while its parameters stay as they are may have a method
    `acting`, of no arguments: it gives an `Act` that is called as the agent is, without gradients
    and only until they change.
    """

    @property
    def vocabulary(self) -> Sequence[str]:
        """The words of missions by their tokens, as it was made to read them."""

    def initial_state(self, batch: int) -> State:
        """The state before the first step, a tuple of tensors [batch, ...]."""

    def __call__(self, obs: Observation, state: State, starts: Tensor) -> Output:
        """Run T steps.

        Args:
            obs: [T, B, ...] by name: what the environment gives; ``last_action`` int64 and
                ``last_reward`` float32, the step before's; ``task`` int64, the level's index; and,
                when learning, what `Output.replay` held.
            state: before the first step.
            starts: bool [T, B]; an episode begins at this step, so its state is reset before it.
        """

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by group: "encoder", "modules", "attention", "policy", "value"."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As `torch.nn.Module.named_parameters`."""

    def state_dict(self) -> dict[str, Tensor]:
        """As `torch.nn.Module.state_dict`."""

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object:
        """As `torch.nn.Module.load_state_dict`."""


class Spec(Protocol):
    """What an agent must know of its environments."""

    num_actions: int
    device: torch.device
    level_ids: list[str]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of an observation's image, without the batch."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The words of missions by their tokens; that of 0 is padding."""

    @property
    def one_mission(self) -> bool:
        """Whether the mission is the same in all environments and episodes."""


@dataclass(frozen=True)
class AgentConfig(Variant):
    """An agent's settings, which make it; its kinds are found by name."""

    kind: ClassVar[str] = "agent"

    @property
    def stacks(self) -> bool:
        """Whether runs that differ in their seed alone can learn at once: `torch.func.vmap` goes
        over such agents, which are made of PyTorch's operations and choose none by a number.
        """
        return True

    def make(self, spec: Spec, seed: int = 0, levels: Sequence[str] = ()) -> Agent:
        """The agent on the environments' device, with fresh parameters.

        Args:
            spec: the environments, or anything with their ``num_actions``, ``image_shape``,
                ``vocabulary``, ``one_mission``, ``level_ids`` and ``device``.
            seed: of the first parameters; the global random state is left alone.
            levels: what the agent is trained on, where that differs from the environments' levels.
        """
        raise NotImplementedError

    def lesions(self, count: int) -> dict[str, AgentConfig]:
        """The same agent with modules switched off, by what is: `count` of the active ones drawn
        anew each step, and each one for good. None where there are no modules.
        """
        return {}


class Step(Protocol):
    """What a batched step gives; an ended environment's `obs` is its next episode's first."""

    @property
    def obs(self) -> Observation:
        """What to act on next, [B, ...] by name."""

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
        """What the actions led to, be it an episode's last, [B, ...] by name."""


class Environment(Protocol):
    """A batch of environments that begin a new episode in the step that ends one."""

    num_envs: int
    device: torch.device
    level_ids: list[str]
    task: Tensor  # int64 [B], each environment's level
    state: Tensor

    @property
    def situations(self) -> Tensor:
        """Where each agent stands and what it carries, int64 [B]: the same number for the same."""

    def reset(self, seed: int | None = None) -> Observation:
        """Begin anew: environment i from seed + i, or where its stream stands; [B, ...] by name."""

    def step(self, actions: Tensor) -> Step:
        """Act once everywhere: actions int64 [B]."""


class Stage(Environment, Protocol):
    """Environments that can be seen."""

    num_actions: int
    mission_length: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of an observation's image, without the batch."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The words of missions by their tokens; that of 0 is padding."""

    @property
    def one_mission(self) -> bool:
        """Whether the mission is the same in all environments and episodes."""

    def render(self, i: int = 0) -> np.ndarray:
        """Environment i's picture, uint8 [H, W, 3]."""

    def missions(self) -> list[str]:
        """What each environment asks for, in words."""


class MakeEnvironments(Protocol):
    """Makes a batch of environments; a `ValueError` says what is wrong with the arguments."""

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
        max_steps: int | None,
    ) -> Stage:
        """Environments of the levels `ids`, an equal share each, or the k-th of n parts of them,
        seen in "symbolic" or "rgb" images; episodes are cut after `max_steps`, None: the levels'.
        """


class Demonstrations(Protocol):
    """Episodes one after the other, N steps in all."""

    @property
    def level(self) -> str:
        """The id of the level that they are of, or "" where that is not known."""

    @property
    def obs(self) -> Observation:
        """What was seen before each step, [N, ...] by name, as the environments give it."""

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
        """In hexadecimal digits, of the data."""


class Demonstrate(Protocol):
    """Has a level walked by who knows how; a `ValueError` says why that cannot be."""

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
        """Write so many episodes that end well, from `seed` on, into a new folder, as a dataset of
        that name, by so many processes; after each seed `report` is told how many there are, and
        why others were passed over.
        """


class Simulator(Protocol):
    """A package of environments."""

    @property
    def make(self) -> MakeEnvironments:
        """Makes a batch."""

    @property
    def demonstrate(self) -> Demonstrate:
        """Writes demonstrations."""

    def read_level(self, folder: Path) -> str:
        """The id of the level that demonstrations are of, or ""; `ValueError` as for reading."""

    @property
    def read_demonstrations(self) -> Callable[[Path, Stage], Demonstrations]:
        """Reads them as what environments show; a `ValueError` says why they cannot be had."""

    def levels(self) -> list[str]:
        """The ids of all levels."""

    def check_level(self, id: str) -> None:
        """Refuse a level that there is not, by a `ValueError`."""

    def find_events(self, obs: Observation) -> dict[str, Tensor]:
        """What observations [T, B, ...] show the agent to be about, bool [T, B] by name."""
