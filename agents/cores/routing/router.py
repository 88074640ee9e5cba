"""The router: what decides (its layout), by which scores, and with which decision maker."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.errors import UsageError, check_between, check_choice, check_positive

from .blocks import Dense
from .makers import MakerConfig
from .makers.reinforce import BaselineConfig, ReinforceConfig
from .makers.wpl import WPLConfig
from .trace import UNAVAILABLE, Space

LAYOUTS = ("single", "depth", "task", "dispatched")
POLICIES = ("table", "approximator")


@dataclass(frozen=True)
class RouterConfig:
    """A router (Rosenbaum et al. 2018, Fig. 3; 2019, Fig. 11).

    Attributes:
        maker: how decisions are made and learnt.
        layout: "single" (one routing agent, whose approximator serves all depths), "depth" (one
            routing agent, an approximator for each depth), "task" (a routing agent for each task)
            or "dispatched" (`routing_agents` of them, and one more that assigns samples to them).
        policy: "table" (scores by routing agent and depth) or "approximator" (MLPs of the
            representation and the task).
        routing_agents: number of routing agents in the dispatched layout.
        dispatcher: how the agent that assigns samples learns; must be by policy gradient.
        hidden: hidden units of the approximators.
        collaboration: ρ in [−1, 1]; a decision is rewarded with ρ / depth times the running average
            of its block's probability.
        squash: κ; on a path with a fraction s of exploratory choices the blocks' gradient is scaled
            by (1 − s)^κ (2019, eq. 1).
        discount: γ between decisions.
    """

    maker: MakerConfig = field(default=WPLConfig())
    layout: str = "task"
    policy: str = "table"
    routing_agents: int = 4
    dispatcher: MakerConfig = field(default=BaselineConfig())
    hidden: int = 64
    collaboration: float = 0.0
    squash: float = 0.0
    discount: float = 1.0

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, LAYOUTS)
        check_choice("policy", self.policy, POLICIES)
        check_positive(routing_agents=self.routing_agents, hidden=self.hidden)
        check_between(-1, 1, collaboration=self.collaboration)
        check_between(0, 1, discount=self.discount)
        check_between(0, float("inf"), squash=self.squash)
        if self.maker.tabular and self.policy != "table":
            raise UsageError(f"{self.maker.name} learns only a table, got policy {self.policy!r}")
        if not isinstance(self.dispatcher, ReinforceConfig):
            raise UsageError(
                "a dispatcher must learn by policy gradient, as baseline does, "
                f"got {self.dispatcher.name}"
            )


class Table(nn.Module):
    """A row of scores for each routing agent and depth."""

    def __init__(self, routing_agents: int, rows: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(rows.repeat(routing_agents, 1, 1))

    def forward(self, x: Tensor, tasks: Tensor, routing_agents: Tensor, depth: int) -> Tensor:
        """Scores [N, C]."""
        return self.values[:, depth].index_select(0, routing_agents)


class Approximator(nn.Module):
    """MLPs with one hidden layer of the representation and the task's one-hot vector.

    There is one for each routing agent and depth; a `shared` one serves all depths, with the depth
    as a further input.
    """

    def __init__(
        self,
        routing_agents: int,
        features: int,
        tasks: int,
        hidden: int,
        rows: Tensor,
        shared: bool,
    ) -> None:
        super().__init__()
        self.features, self.tasks, self.shared = features, tasks, shared
        self.depth, outputs = rows.shape
        inputs = features + tasks + (self.depth if shared else 0)
        functions = routing_agents * (1 if shared else self.depth)
        self.hidden = Dense(functions, inputs, hidden)
        self.output = Dense(functions, hidden, outputs, relu=False)

    def forward(self, x: Tensor, tasks: Tensor, routing_agents: Tensor, depth: int) -> Tensor:
        """Scores [N, C]; no gradient flows to the representation."""
        x = F.pad(x.detach(), (0, self.features - x.shape[1]))
        seen = [x, F.one_hot(tasks, self.tasks).to(x)]
        if self.shared:
            at = torch.tensor(depth, device=x.device)
            seen.append(F.one_hot(at, self.depth).to(x).expand(len(x), -1))
        which = routing_agents if self.shared else routing_agents * self.depth + depth
        scores: Tensor = self.output(self.hidden(torch.cat(seen, 1), which), which)
        return scores


@dataclass(frozen=True)
class Decision:
    """One decision of N samples.

    Attributes:
        scores: [N, C], with gradient.
        probabilities: [N, K], what choices are drawn from, or what the best is the best of.
        choices: int64 [N].
        log_probs: [N], of the choices.
        explored: bool [N], whether the choice is not the policy's best.
    """

    scores: Tensor
    probabilities: Tensor
    choices: Tensor
    log_probs: Tensor
    explored: Tensor


class Decider(nn.Module):
    """A decision maker and the scores that it draws from and learns.

    Args:
        config: the router's settings; of the layouts only "single" makes a difference.
        space: the size of the routing problem.
        features: of the widest representation.
        tasks: number of tasks.
        available: bool [depth, K], the choices that exist.
    """

    missing: Tensor

    def __init__(
        self, config: RouterConfig, space: Space, features: int, tasks: int, available: Tensor
    ) -> None:
        super().__init__()
        self.maker = config.maker.build(space, available)
        rows = self.maker.first_scores(available)
        self.source: Table | Approximator
        if config.policy == "table":
            self.source = Table(space.routing_agents, rows)
        else:
            shared = config.layout == "single"
            self.source = Approximator(
                space.routing_agents, features, tasks, config.hidden, rows, shared
            )
        missing = torch.zeros_like(rows)
        missing[:, : available.shape[1]].masked_fill_(~available, UNAVAILABLE)
        self.register_buffer("missing", missing, persistent=False)

    @property
    def table(self) -> Tensor | None:
        """The parameter that scores are read from, if it is a table."""
        return self.source.values if isinstance(self.source, Table) else None

    def scores(self, x: Tensor, tasks: Tensor, routing_agents: Tensor, depth: int) -> Tensor:
        """[N, C] for representations [N, D], tasks and routing_agents int64 [N]."""
        scores: Tensor = self.source(x, tasks, routing_agents, depth) + self.missing[depth]
        return scores

    @torch.no_grad()
    def decide(self, scores: Tensor, noise: Tensor | None, given: Tensor | None) -> Decision:
        """Choose by scores [N, C] and uniform numbers [N, draws, K].

        Without noise the policy's best is taken; choices `given` take precedence where not −1.
        """
        policy = self.maker.policy(scores)
        best = policy.argmax(-1)
        if noise is None:
            probabilities, choices = policy, best
        else:
            probabilities, choices = self.maker.behaviour(scores), self.maker.choose(scores, noise)
        if given is not None:
            choices = torch.where(given < 0, choices, given)
        chosen = probabilities.gather(1, choices.unsqueeze(1)).squeeze(1)
        log_probs = chosen.clamp_min(1e-30).log()
        return Decision(scores, probabilities, choices, log_probs, choices != best)
