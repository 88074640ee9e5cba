"""A policy whose trunk is routed: encoder, routing network, a recurrent core or none, heads."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from metarims.errors import UsageError, check_choice
from metarims.protocols import Diagnostics, Observation, Output, State
from metarims.rims import scramble

from ..policy import Core, Last, RecurrentPolicy
from .network import Replay, Routed, RoutingNetwork

META = ("none", "task", "verb")


class RoutingPolicy(RecurrentPolicy):
    """An `Agent` that takes its features through function blocks chosen at every step.

    What was chosen while acting is repeated when learning from it, so PPO's ratio begins at 1; the
    router's final reward is the step's advantage. Its parameters are the group "attention", the
    blocks' and the core's "modules".

    State: the core's, and ``draws`` int64 [B], the stream that choices are drawn from.

    Args:
        encoder, core, features, actions, last: as `RecurrentPolicy`'s.
        network: what routes the encoder's features to the core.
        meta: what the router is told: "none", the "task" (the level) or the instruction's "verb".
        tasks: int64, for each of the environments' levels the router's number of it.
    """

    tasks: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        network: RoutingNetwork,
        core: Core,
        features: int,
        actions: int,
        last: Last | None,
        meta: str,
        tasks: Tensor,
    ) -> None:
        super().__init__(encoder, core, features, actions, last)
        check_choice("meta", meta, META)
        self.network, self.meta = network, meta
        self.register_buffer("tasks", tasks, persistent=False)

    def initial_state(self, batch: int) -> State:
        """The core's, and a stream for each environment."""
        draws = torch.arange(batch, dtype=torch.int64, device=self.tasks.device) << 32
        return *self.core.initial_state(batch), draws

    def forward(self, obs: Observation, state: State, starts: Tensor) -> Output:
        """As `metarims.protocols.Agent` says."""
        x = self.encoder(obs)
        if self.last is not None:
            x, starts = x + self.last(obs, starts), torch.zeros_like(starts)
        *core_state, draws = state
        told = self._told(obs).flatten()
        replay = None
        if "route" in obs:
            replay = Replay(obs["route"].flatten(0, 1), obs["route_log_prob"].flatten(0, 1))
        noise = uniform(draws, len(starts), self.network.noise_shape).flatten(0, 1)
        routed = self.network(x.flatten(0, 1), told, told, noise, replay)
        x, after, _ = self.core(routed.output.view(*starts.shape, -1), tuple(core_state), starts)
        made = routed.replay
        return Output(
            self.policy(x),
            self.value(x).squeeze(-1),
            (*after, draws + len(starts)),
            _diagnostics(routed, starts),
            {
                "route": made.choices.view(*starts.shape, -1),
                "route_log_prob": made.log_probs.view(*starts.shape, -1),
            },
            partial(self._router_loss, routed),
        )

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by what the loops tell apart."""
        groups = super().groups()
        groups["modules"] = [*self.network.blocks.parameters(), *groups["modules"]]
        groups["attention"] = self.network.router_parameters()
        return groups

    def _told(self, obs: Observation) -> Tensor:
        """The router's meta-information, int64 [T, B]."""
        if self.meta == "verb":
            return obs["mission"][..., 0].long()
        return self.tasks[obs["task"]]

    def _router_loss(self, routed: Routed, advantages: Tensor) -> Tensor:
        return self.network.learn(routed, advantages.flatten())


class Memoryless(nn.Module):
    """No recurrent core: what it is given is what it gives."""

    def module_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    def attention_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    def initial_state(self, batch: int) -> State:
        """Nothing."""
        return ()

    def forward(self, x: Tensor, state: State, starts: Tensor) -> tuple[Tensor, State, Diagnostics]:
        """x, and no state."""
        return x, state, {}


def number_levels(levels: list[str], trained: list[str]) -> Tensor:
    """Each level's place among those the router was trained on, int64.

    Raises:
        UsageError: there is one it was not.
    """
    for level in levels:
        if level not in trained:
            raise UsageError(f"routing by task knows no {level}; it knows {', '.join(trained)}")
    return torch.tensor([trained.index(level) for level in levels])


def uniform(draws: Tensor, steps: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers float32 [T, B, *shape] of the streams at `draws` int64 [B], the same again
    for the same."""
    count = torch.Size(shape).numel()
    ticks = draws + torch.arange(steps, device=draws.device).unsqueeze(1)
    seeds = ticks.unsqueeze(2) * count + torch.arange(count, device=draws.device)
    return (((scramble(seeds) >> 40 & 0xFFFFFF) + 0.5) / 2**24).view(steps, len(draws), *shape)


def _diagnostics(routed: Routed, starts: Tensor) -> Diagnostics:
    """Who was chosen and how likely, [T, B, depth, K]."""
    claim = routed.claim.view(*starts.shape, *routed.claim.shape[1:])
    mask = nn.functional.one_hot(routed.trace.choices, claim.shape[-1]).bool()
    return {"module_mask": mask.view_as(claim), "module_claim": claim}
