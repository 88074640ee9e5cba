"""What learning asks of an agent and of an environment, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

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
        diagnostics: by name, [T, B, ...]; ``module_mask`` and ``module_claim`` where there are
            modules.
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


class Agent(Protocol):
    """A policy and a value over hidden state that is argument and result."""

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

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class Step(Protocol):
    """What a batched step gives; an ended environment's `obs` is its next episode's first."""

    @property
    def obs(self) -> Observation: ...

    @property
    def reward(self) -> Tensor: ...

    @property
    def terminated(self) -> Tensor: ...

    @property
    def truncated(self) -> Tensor: ...

    @property
    def task(self) -> Tensor: ...

    @property
    def final_obs(self) -> Observation: ...


class Environment(Protocol):
    """A batch of environments that begin a new episode in the step that ends one."""

    num_envs: int
    device: torch.device
    level_ids: list[str]
    task: Tensor  # int64 [B], each environment's level
    state: Tensor

    def reset(self, seed: int | None = None) -> Observation: ...

    def step(self, actions: Tensor) -> Step: ...
