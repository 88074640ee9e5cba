"""Training data: rollouts cut into spans, in minibatches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .losses import log_prob_of, log_softmax
from .protocols import Agent, Observation, State
from .rollout import Rollout


@dataclass(frozen=True)
class Sequences:
    """N spans of S steps, [S, N, ...], with the state before each, [N, ...], and its task, [N]."""

    obs: Observation
    state: State
    starts: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    task: Tensor

    def take(self, rows: Tensor) -> Sequences:
        """The spans with the indices `rows`, int64."""
        return Sequences(
            {name: x.index_select(1, rows) for name, x in self.obs.items()},
            tuple(x.index_select(0, rows) for x in self.state),
            self.starts.index_select(1, rows),
            self.actions.index_select(1, rows),
            self.log_probs.index_select(1, rows),
            self.advantages.index_select(1, rows),
            self.returns.index_select(1, rows),
            self.task.index_select(0, rows),
        )


def cut(rollout: Rollout, advantages: Tensor, returns: Tensor, span: int) -> Sequences:
    """Cut a rollout into spans, a multiple of its stride each; N = T / span · B."""

    def fold(x: Tensor) -> Tensor:
        return x.view(-1, span, *x.shape[1:]).transpose(0, 1).flatten(1, 2)

    pieces = len(rollout.starts) // span
    return Sequences(
        {name: fold(x) for name, x in rollout.obs.items()},
        tuple(x[:: span // rollout.stride].flatten(0, 1) for x in rollout.states),
        fold(rollout.starts),
        fold(rollout.actions),
        fold(rollout.log_probs),
        fold(advantages),
        fold(returns),
        rollout.task.repeat(pieces),
    )


@torch.no_grad()
def with_current_log_probs(agent: Agent, sequences: Sequences, parts: int) -> Sequences:
    """The spans with their actions' log-probabilities under the current agent, computed in `parts`
    chunks, so that this takes no more memory than learning from them.
    """
    found = []
    for rows in in_parts(torch.arange(len(sequences.task), device=sequences.task.device), parts):
        part = sequences.take(rows)
        logits = agent(part.obs, part.state, part.starts).logits
        found.append(log_prob_of(log_softmax(logits)[0], part.actions))
    return replace(sequences, log_probs=torch.cat(found, 1))


def minibatches(
    sequences: Sequences, parts: int, generator: torch.Generator
) -> Iterator[Sequences]:
    """One pass over the spans in random order, in `parts` minibatches whose sizes differ by at most
    one, or one per span if there are fewer spans.
    """
    for rows in in_parts(shuffled(len(sequences.task), generator, sequences.task.device), parts):
        yield sequences.take(rows)


def in_parts(rows: Tensor, parts: int) -> Sequence[Tensor]:
    """Rows, int64 [..., N], in `parts` chunks of sizes that differ by at most one, or in N."""
    return rows.tensor_split(min(parts, rows.shape[-1]), -1)


def shuffled(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """A random permutation of the numbers below `count`, int64."""
    return torch.randperm(count, generator=generator, device=device)
