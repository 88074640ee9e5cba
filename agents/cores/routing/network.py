"""The routing network: a path of function blocks for every sample, chosen on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from metarims.errors import UsageError

from .blocks import Layer
from .router import Decider, Decision, RouterConfig
from .trace import Space, Trace


@dataclass(frozen=True)
class Replay:
    """Earlier decisions to repeat: int64 and float [N, decisions]."""

    choices: Tensor
    log_probs: Tensor


@dataclass(frozen=True)
class Routed:
    """The routing of N samples.

    Attributes:
        output: [N, D'].
        probabilities: [N, depth, K], of choosing each block.
        trace: the decisions; rewards are still 0.
        dispatch: the dispatcher's, if there is one.
    """

    output: Tensor
    probabilities: Tensor
    trace: Trace
    dispatch: Trace | None

    @property
    def replay(self) -> Replay:
        """All decisions, the dispatcher's first."""
        traces = [self.trace] if self.dispatch is None else [self.dispatch, self.trace]
        return Replay(
            torch.cat([trace.choices for trace in traces], 1),
            torch.cat([trace.log_probs for trace in traces], 1),
        )


class RoutingNetwork(nn.Module):
    """Algorithm 1 of Rosenbaum et al. 2018, for a batch.

    Args:
        layers: the function blocks of each depth; the same ones at several make it recursive.
        config: the router's settings.
        features: of the widest representation that is routed.
        tasks: number of tasks.
        keys: number of samples, or groups of them, that a decision maker may have to remember.
    """

    usage: Tensor

    def __init__(
        self,
        layers: Sequence[Layer],
        config: RouterConfig,
        features: int,
        tasks: int = 1,
        keys: int = 1,
    ) -> None:
        super().__init__()
        if not layers or not all(len(layer) for layer in layers):
            raise UsageError("a routing network needs a block at every depth")
        self.config = config
        self.blocks = nn.ModuleList(dict.fromkeys(layers))  # each once, even if at several depths
        self.layers = [list(dict.fromkeys(layers)).index(layer) for layer in layers]
        widest = max(len(layer) for layer in layers)
        available = torch.stack([torch.arange(widest) < len(layer) for layer in layers])
        routing_agents = {"task": tasks, "dispatched": config.routing_agents}.get(config.layout, 1)
        space = Space(routing_agents, len(layers), widest, keys)
        self.decider = Decider(config, space, features, tasks, available)
        self.dispatcher: Decider | None = None
        if config.layout == "dispatched":
            first = replace(config, maker=config.dispatcher, policy="approximator")
            everyone = torch.ones(1, routing_agents, dtype=torch.bool)
            self.dispatcher = Decider(first, Space(1, 1, routing_agents), features, tasks, everyone)
        self.register_buffer("usage", available / available.sum(1, keepdim=True))

    @property
    def decisions(self) -> int:
        """Decisions for each sample, including the dispatcher's."""
        return len(self.layers) + (self.dispatcher is not None)

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """Shape of the uniform numbers that each sample takes: [decisions, draws, K]."""
        widest = self.usage.shape[1]
        if self.dispatcher is not None:
            widest = max(widest, self.config.routing_agents)
        return self.decisions, self.decider.maker.draws, max(2, widest)

    def router_parameters(self) -> list[nn.Parameter]:
        """The parameters that decide; all others are the blocks'."""
        blocks = {id(parameter) for parameter in self.blocks.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in blocks]

    def forward(
        self,
        x: Tensor,
        tasks: Tensor,
        keys: Tensor,
        noise: Tensor | None,
        replay: Replay | None = None,
    ) -> Routed:
        """Route every sample.

        Args:
            x: [N, D].
            tasks, keys: int64 [N].
            noise: uniform [N, *noise_shape]; without it every decision is the best.
            replay: decisions to repeat.
        """
        decisions: list[Decision] = []
        skipped = self.decisions - len(self.layers)
        routing_agents, dispatch = self._routing_agents(x, tasks, noise, replay)
        given = self._path(keys, noise, replay)
        choices = self.usage.shape[1]
        for i, layer in enumerate(self.layers):
            drawn = None if noise is None else noise[:, skipped + i, :, :choices]
            scores = self.decider.scores(x, tasks, routing_agents, i)
            decision = self.decider.decide(scores, drawn, None if given is None else given[:, i])
            decisions.append(decision)
            x = self._transform(cast(Layer, self.blocks[layer]), x, decision, drawn)
        trace = _trace(
            self.decider, decisions, routing_agents, keys, noise, self.config.discount, skipped
        )
        if replay is not None:
            trace = replace(trace, log_probs=replay.log_probs[:, skipped:])
        probabilities = torch.stack([decision.probabilities for decision in decisions], 1)
        return Routed(self._squash(x, decisions), probabilities, trace, dispatch)

    def learn(self, routed: Routed, final: Tensor) -> Tensor:
        """The router's loss for final rewards [N]; tables with a rule of their own are updated."""
        used = routed.probabilities.mean(0).to(self.usage)
        self.usage.lerp_(used, 0.01)
        earned = self.usage.expand(len(final), -1, -1).gather(2, routed.trace.choices.unsqueeze(2))
        rewards = self.config.collaboration / len(self.layers) * earned.squeeze(2)
        loss = self.decider.maker.learn(replace(routed.trace, rewards=rewards, final=final))
        if self.dispatcher is not None and routed.dispatch is not None:
            whole = replace(routed.dispatch, final=final + rewards.sum(1))
            loss = loss + self.dispatcher.maker.learn(whole)
        return loss

    def _routing_agents(
        self, x: Tensor, tasks: Tensor, noise: Tensor | None, replay: Replay | None
    ) -> tuple[Tensor, Trace | None]:
        """Each sample's routing agent, int64 [N], and the dispatcher's trace, if any."""
        nobody = torch.zeros_like(tasks)
        if self.dispatcher is None:
            return tasks if self.config.layout == "task" else nobody, None
        drawn = None if noise is None else noise[:, 0, :, : self.config.routing_agents]
        given = None if replay is None else replay.choices[:, 0]
        scores = self.dispatcher.scores(x, tasks, nobody, 0)
        decision = self.dispatcher.decide(scores, drawn, given)
        trace = _trace(self.dispatcher, [decision], nobody, nobody, noise, 1.0, 0)
        if replay is not None:
            trace = replace(trace, log_probs=replay.log_probs[:, :1])
        return decision.choices, trace

    def _path(self, keys: Tensor, noise: Tensor | None, replay: Replay | None) -> Tensor | None:
        """Choices int64 [N, depth] that are fixed in advance, −1 where not; None if none are."""
        if replay is not None:
            return replay.choices[:, self.decisions - len(self.layers) :]
        return None if noise is None else self.decider.maker.propose(keys, noise)

    def _transform(
        self, layer: Layer, x: Tensor, decision: Decision, noise: Tensor | None
    ) -> Tensor:
        """The chosen blocks' outputs; all blocks, weighted, if the loss trains the scores."""
        maker = self.decider.maker
        if noise is None or not (maker.relaxed and torch.is_grad_enabled()):
            return cast(Tensor, layer(x, decision.choices))
        weights = maker.weights(decision.scores, decision.choices, noise)[:, : len(layer)]
        return torch.einsum("knd,nk->nd", layer.every(x), weights)

    def _squash(self, x: Tensor, decisions: list[Decision]) -> Tensor:
        """x itself, with a smaller gradient for paths with exploratory choices."""
        if not self.config.squash:
            return x
        explored = torch.stack([d.explored for d in decisions], 1).to(x).mean(1, keepdim=True)
        kept = (1 - explored) ** self.config.squash
        return x * kept + (x * (1 - kept)).detach()


def _trace(
    decider: Decider,
    decisions: list[Decision],
    routing_agents: Tensor,
    keys: Tensor,
    noise: Tensor | None,
    discount: float,
    first: int,
) -> Trace:
    """The decisions side by side, with no reward yet."""
    scores = torch.stack([d.scores for d in decisions], 1)
    log_probs = torch.stack([d.log_probs for d in decisions], 1)
    width = decisions[0].probabilities.shape[1]
    if noise is None:
        noise = torch.full((len(routing_agents), first + len(decisions), 1, width), 0.5).to(scores)
    return Trace(
        scores,
        torch.stack([d.choices for d in decisions], 1),
        log_probs,
        noise[:, first : first + len(decisions), :, :width],
        routing_agents,
        keys,
        torch.zeros_like(log_probs),
        torch.zeros_like(log_probs[:, 0]),
        discount,
        decider.table,
    )
