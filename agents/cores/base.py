"""The interface of cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from metarims.protocols import Diagnostics, Observation, Spec, State
from metarims.settings import Variant


@dataclass(frozen=True)
class CoreOutput:
    """A core's output for T steps.

    Attributes:
        features: [T, B, F].
        state: after step T, a tuple of tensors [B, ...].
        diagnostics, replay, loss: as in `metarims.protocols.Output`.
    """

    features: Tensor
    state: State
    diagnostics: Diagnostics = field(default_factory=dict)
    replay: dict[str, Tensor] = field(default_factory=dict)
    loss: Callable[[Tensor], Tensor] | None = None


class Core(Protocol):
    """Features and state in, features and state out: a torch module.

    Attributes:
        outputs: F, number of output features.
    """

    outputs: int

    def __call__(self, x: Any, state: State, starts: Tensor, obs: Observation) -> CoreOutput:
        """Run T steps.

        Args:
            x: features [T, B, D], or slots [T, B, S, D] if its configuration takes those; as
                `Frames` if it takes frames.
            state: before the first step.
            starts: bool [T, B]; where true the state is reset before the step.
            obs: what the features were made from, see `metarims.protocols.Agent`.
        """

    def initial_state(self, batch: int) -> State:
        """The state before the first step, a tuple of tensors [batch, ...] without gradient."""

    def module_parameters(self) -> list[nn.Parameter]:
        """The group "modules": what the fast loop learns."""

    def attention_parameters(self) -> list[nn.Parameter]:
        """The group "attention": what chooses among modules, for the slow loop."""


@dataclass(frozen=True)
class CoreConfig(Variant):
    """A core's settings, which build it."""

    kind: ClassVar[str] = "core"
    takes_slots: ClassVar[bool] = False
    takes_frames: ClassVar[bool] = False  # and computes once what equal frames share
    stacks: ClassVar[bool] = True  # see `metarims.protocols.AgentConfig.stacks`
    encoder_first: ClassVar[bool] = False  # whether its initial parameters are drawn first

    def build(self, inputs: int, spec: Spec, levels: Sequence[str]) -> Core:
        """The core with fresh parameters.

        Args:
            inputs: D, number of input features.
            spec: the environments.
            levels: ids of the levels that the agent is trained on.
        """
        raise NotImplementedError

    def lesions(self, count: int) -> dict[str, CoreConfig]:
        """As `metarims.protocols.AgentConfig.lesions`."""
        return {}
