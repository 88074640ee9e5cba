"""A recurrent policy: encoder, core, and one head each for actions and value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from metarims.errors import UsageError, check_choice, check_positive
from metarims.protocols import Act, AgentConfig, Observation, Output, Spec, State
from metarims.registry import register

from .cores import Core, CoreConfig
from .cores.span import check_shape
from .encoder import Encoder, EncoderConfig, SlotEncoder
from .frames import Memory, as_frames
from .heads import make_head, run_heads


@register("agent", "recurrent")
@dataclass(frozen=True)
class PolicyConfig(AgentConfig):
    """An encoder, a core and heads.

    Attributes:
        core: recurrent part of the agent.
        encoder: turns observations into features.
        hidden_state: "reset" at each episode's start, or "carry" across episodes, with the last
            action, its reward and whether it ended an episode as further inputs.
        head: units of each head's hidden layer.
    """

    core: CoreConfig
    encoder: EncoderConfig = field(default=EncoderConfig())
    hidden_state: str = "reset"
    head: int = 64

    def __post_init__(self) -> None:
        check_choice("hidden_state", self.hidden_state, ("reset", "carry"))
        check_positive(head=self.head)
        if self.encoder.slots and not self.core.takes_slots:
            raise UsageError(f"core {self.core.name!r} takes no slots, as it does not attend")

    @property
    def stacks(self) -> bool:
        """Whether the core does."""
        return self.core.stacks

    def make(self, spec: Spec, seed: int = 0, levels: Sequence[str] = ()) -> RecurrentPolicy:
        """As `metarims.protocols.AgentConfig.make`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            policy = RecurrentPolicy(self, spec, levels or spec.level_ids)
        return policy.to(spec.device)

    def lesions(self, count: int) -> dict[str, AgentConfig]:
        """The core's, each as a whole agent."""
        return {off: replace(self, core=core) for off, core in self.core.lesions(count).items()}


def check_core(core: object) -> None:
    """Refuse a core that lacks something of its interface."""
    needed = ("outputs", "initial_state", "module_parameters", "attention_parameters")
    if missing := [each for each in needed if not hasattr(core, each)]:
        name = type(core).__name__
        raise UsageError(f"the core {name} lacks {', '.join(missing)}: see agents/cores/base.py")


class RecurrentPolicy(nn.Module):
    """Encoder, core and heads; an `Agent`.

    Args:
        config: settings of its parts.
        spec: the environments.
        levels: ids of the levels that it is trained on.
    """

    encoder: Encoder | SlotEncoder
    core: Core

    def __init__(self, config: PolicyConfig, spec: Spec, levels: Sequence[str]) -> None:
        super().__init__()
        features, actions = config.encoder.features, spec.num_actions
        self.vocabulary = tuple(spec.vocabulary)
        make_core = partial(config.core.build, features, spec, levels)
        make_encoder = partial(
            config.encoder.build, len(spec.vocabulary), spec.image_shape, spec.one_mission
        )
        if config.core.encoder_first:
            self.encoder, self.core = make_encoder(), make_core()
        else:
            self.core, self.encoder = make_core(), make_encoder()
        check_core(self.core)
        self.takes_frames = config.core.takes_frames
        carries = config.hidden_state == "carry"
        self.last = Last(actions, features) if carries else None
        self.policy = make_head(self.core.outputs, config.head, actions, 0.01)
        self.value = make_head(self.core.outputs, config.head, 1, 1.0)

    @property
    def form(self) -> str:
        """The core's form, if it names one."""
        return getattr(self.core, "form", "")

    def initial_state(self, batch: int) -> State:
        """The core's."""
        return self.core.initial_state(batch)

    def acting(self) -> Act:
        """As `metarims.protocols.Agent` has it: with a memory of what was encoded."""
        return partial(self.forward, memory=Memory())

    def forward(
        self, obs: Observation, state: State, starts: Tensor, memory: Memory | None = None
    ) -> Output:
        """As `metarims.protocols.Agent` has it; with a `Memory`, without gradients only."""
        frames = as_frames(self.encoder(obs, memory))
        if self.last is not None:
            x, last = frames.spread(), self.last(obs, starts)
            frames = as_frames(x + (last if x.dim() == 3 else last.unsqueeze(2)))
            starts = torch.zeros_like(starts)
        core = self.core(frames if self.takes_frames else frames.spread(), state, starts, obs)
        wanted = *starts.shape, self.core.outputs
        check_shape("the core's features [T, B, its `outputs`]", core.features, *wanted)
        logits, values = run_heads(self.policy, self.value, core.features)
        return Output(logits, values, core.state, core.diagnostics, core.replay, core.loss)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by the groups that loops train."""
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
    """Features of the previous step: its action, its reward, and whether it ended an episode."""

    def __init__(self, actions: int, features: int) -> None:
        super().__init__()
        self.actions = nn.Embedding(actions, features)
        self.outcome = nn.Linear(2, features, bias=False)

    def forward(self, obs: Observation, starts: Tensor) -> Tensor:
        """Last actions int64, last rewards and starts, [T, B] each, to [T, B, features]."""
        outcome = torch.stack([obs["last_reward"], starts.to(obs["last_reward"].dtype)], -1)
        x: Tensor = self.actions(obs["last_action"]) + self.outcome(outcome)
        return x
