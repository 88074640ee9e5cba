"""A recurrent policy: encoder, core, and one head each for actions and value."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from metarims.protocols import Diagnostics, Observation, Output, State


class Core(Protocol):
    """The recurrent part: LSTM, RIMs."""

    def __call__(
        self, x: Tensor, state: State, starts: Tensor
    ) -> tuple[Tensor, State, Diagnostics]: ...

    def initial_state(self, batch: int) -> State: ...

    def module_parameters(self) -> list[nn.Parameter]: ...

    def attention_parameters(self) -> list[nn.Parameter]: ...


class RecurrentPolicy(nn.Module):
    """Encoder, core and heads; an `Agent`.

    Args:
        encoder: observations to features [T, B, D], or to slots [T, B, S, D].
        core: what remembers.
        features: the core's outputs.
        actions: how many there are.
        last: features of the step before, added to the encoder's; with it, the state is carried
            over episodes' ends.
        hidden: of either head.
    """

    def __init__(
        self,
        encoder: nn.Module,
        core: Core,
        features: int,
        actions: int,
        last: nn.Module | None = None,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.encoder, self.core, self.last = encoder, core, last
        self.policy = _head(features, hidden, actions, 0.01)
        self.value = _head(features, hidden, 1, 1.0)

    def initial_state(self, batch: int) -> State:
        """The core's."""
        return self.core.initial_state(batch)

    def forward(self, obs: Observation, state: State, starts: Tensor) -> Output:
        """As `metarims.protocols.Agent` says."""
        x = self.encoder(obs)
        if self.last is not None:
            last = self.last(obs, starts)
            x = x + (last if x.dim() == 3 else last.unsqueeze(2))
            starts = torch.zeros_like(starts)
        x, state, diagnostics = self.core(x, state, starts)
        return Output(self.policy(x), self.value(x).squeeze(-1), state, diagnostics)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by what the loops tell apart."""
        return {
            "encoder": [
                *self.encoder.parameters(),
                *(() if self.last is None else self.last.parameters()),
            ],
            "modules": self.core.module_parameters(),
            "attention": self.core.attention_parameters(),
            "policy": list(self.policy.parameters()),
            "value": list(self.value.parameters()),
        }


class Last(nn.Module):
    """Features of the step before: its action, its reward, whether it ended an episode."""

    def __init__(self, actions: int, features: int) -> None:
        super().__init__()
        self.actions = nn.Embedding(actions, features)
        self.outcome = nn.Linear(2, features, bias=False)

    def forward(self, obs: Observation, starts: Tensor) -> Tensor:
        """[T, B, features]."""
        outcome = torch.stack([obs["last_reward"], starts.to(obs["last_reward"].dtype)], -1)
        x: Tensor = self.actions(obs["last_action"]) + self.outcome(outcome)
        return x


def _head(features: int, hidden: int, outputs: int, gain: float) -> nn.Sequential:
    """One hidden layer; a small last layer makes the first policy nearly uniform."""
    first, last = nn.Linear(features, hidden), nn.Linear(hidden, outputs)
    nn.init.orthogonal_(last.weight, gain)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, nn.Tanh(), last)
