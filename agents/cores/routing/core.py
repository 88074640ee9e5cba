"""The routing core: a routing network, then an LSTM or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from metarims.errors import UsageError, check_choice, check_positive
from metarims.protocols import Diagnostics, Observation, Spec, State
from metarims.registry import register

from ..base import CoreConfig, CoreOutput
from ..lstm import LSTM
from ..span import scramble
from .blocks import Dense
from .network import Replay, Routed, RoutingNetwork
from .router import RouterConfig

META = ("none", "task", "verb")


@register("core", "routing")
@dataclass(frozen=True)
class RoutingConfig(CoreConfig):
    """The routing network's size, its router, and what follows it.

    Attributes:
        blocks: function blocks at each depth.
        depth: number of decisions in a row.
        recursive: use the same blocks at every depth.
        skip: add PASS, the identity, to the choices.
        recurrent: follow the routing network with an LSTM.
        hidden: d, units of the LSTM.
        meta: the router's meta-information: "none", "task" (the level) or "verb" (the first word of
            the instruction).
        router: what decides, by which scores, and how that is learnt.
    """

    stacks: ClassVar[bool] = False  # which block runs depends on the choices
    encoder_first: ClassVar[bool] = True

    blocks: int = 5
    depth: int = 2
    recursive: bool = False
    skip: bool = False
    recurrent: bool = True
    hidden: int = 80
    meta: str = "none"
    router: RouterConfig = field(default=RouterConfig())

    def __post_init__(self) -> None:
        check_positive(blocks=self.blocks, depth=self.depth, hidden=self.hidden)
        check_choice("meta", self.meta, META)

    def build(self, inputs: int, spec: Spec, levels: Sequence[str]) -> RoutingCore:
        """As `CoreConfig.build`.

        Raises:
            UsageError: `meta` is "task", and the environments have a level that the router was not
                trained on.
        """
        tasks = torch.zeros(len(spec.level_ids), dtype=torch.int64)
        if self.meta == "task":
            tasks = number_levels(spec.level_ids, levels)
        count = {"task": len(levels), "verb": len(spec.vocabulary)}.get(self.meta, 1)
        return RoutingCore(self, inputs, tasks, count)


class RoutingCore(nn.Module):
    """Routes features through function blocks chosen at every step, then through an LSTM, if any.

    Choices made while acting are repeated when learning from them, so PPO's ratio begins at 1; the
    router's final reward is the step's advantage. The router's parameters are the group
    "attention", those of the blocks and the LSTM "modules".

    State: the LSTM's, if there is one, and ``streams`` int64 [B], the random streams that choices
    are drawn from.

    Args:
        config: settings of its parts.
        inputs: D, number of input features.
        tasks: int64, the router's number of each of the environments' levels.
        count: number of values of the meta-information.
    """

    tasks: Tensor

    def __init__(self, config: RoutingConfig, inputs: int, tasks: Tensor, count: int) -> None:
        super().__init__()
        layers = [
            Dense(config.blocks, inputs, inputs, skip=config.skip) for _ in range(config.depth)
        ]
        if config.recursive:
            layers = layers[:1] * config.depth
        self.meta = config.meta
        self.network = RoutingNetwork(layers, config.router, inputs, count, count)
        self.memory = LSTM(inputs, config.hidden) if config.recurrent else None
        self.outputs = inputs if self.memory is None else self.memory.outputs
        self.register_buffer("tasks", tasks, persistent=False)

    def module_parameters(self) -> list[nn.Parameter]:
        """The blocks' and the LSTM's."""
        memory = [] if self.memory is None else self.memory.module_parameters()
        return [*self.network.blocks.parameters(), *memory]

    def attention_parameters(self) -> list[nn.Parameter]:
        """The router's."""
        return self.network.router_parameters()

    def initial_state(self, batch: int) -> State:
        """The LSTM's, and a stream for each environment."""
        streams = torch.arange(batch, dtype=torch.int64, device=self.tasks.device) << 32
        return *(() if self.memory is None else self.memory.initial_state(batch)), streams

    def forward(self, x: Tensor, state: State, starts: Tensor, obs: Observation) -> CoreOutput:
        """Route features [T, B, D], then run the LSTM over them: [T, B, F]."""
        *memory, streams = state
        meta = self._meta_information(obs).flatten()
        replay = None
        if "route" in obs:
            replay = Replay(obs["route"].flatten(0, 1), obs["route_log_prob"].flatten(0, 1))
        noise = None
        if self.training:
            noise = uniform(streams, len(starts), self.network.noise_shape).flatten(0, 1)
        routed = self.network(x.flatten(0, 1), meta, meta, noise, replay)
        made = routed.replay
        after = CoreOutput(routed.output.view(*starts.shape, -1), ())
        if self.memory is not None:
            after = self.memory(after.features, tuple(memory), starts, obs)
        return CoreOutput(
            after.features,
            (*after.state, streams + len(starts)),
            _diagnostics(routed, starts),
            {
                "route": made.choices.view(*starts.shape, -1),
                "route_log_prob": made.log_probs.view(*starts.shape, -1),
            },
            partial(self._router_loss, routed),
        )

    def _meta_information(self, obs: Observation) -> Tensor:
        """int64 [T, B]."""
        if self.meta == "verb":
            return obs["mission"][..., 0].long()
        return self.tasks[obs["task"]]

    def _router_loss(self, routed: Routed, advantages: Tensor) -> Tensor:
        """A scalar, for advantages [T, B]."""
        return self.network.learn(routed, advantages.flatten())


def number_levels(levels: Sequence[str], trained: Sequence[str]) -> Tensor:
    """Each level's index among those the router was trained on, int64 [levels].

    Raises:
        UsageError: it was not trained on one of them.
    """
    for level in levels:
        if level not in trained:
            raise UsageError(f"routing by task has no task {level}; it has {', '.join(trained)}")
    return torch.tensor([trained.index(level) for level in levels])


def uniform(streams: Tensor, steps: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers below 1, float32 [T, B, *shape], from the streams' states int64 [B]."""
    count = torch.Size(shape).numel()
    ticks = streams + torch.arange(steps, device=streams.device).unsqueeze(1)
    seeds = ticks.unsqueeze(2) * count + torch.arange(count, device=streams.device)
    numbers = ((scramble(seeds) >> 40 & 0xFFFFFF) + 0.5) / 2**24  # the highest is rounded to 1
    return numbers.clamp_max(1 - 2**-24).view(steps, len(streams), *shape)


def _diagnostics(routed: Routed, starts: Tensor) -> Diagnostics:
    """Which blocks were chosen, and with what probability, [T, B, depth, K]."""
    probabilities = routed.probabilities.view(*starts.shape, *routed.probabilities.shape[1:])
    mask = nn.functional.one_hot(routed.trace.choices, probabilities.shape[-1]).bool()
    return {"module_mask": mask.view_as(probabilities), "module_probabilities": probabilities}
