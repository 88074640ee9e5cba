"""Small environments made of tensors, whose best policy and value are known by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metarims.protocols import Observation


@dataclass(frozen=True)
class ProbeStep:
    obs: Observation
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    task: Tensor
    final_obs: Observation


class Probe:
    """A batch of environments that count their steps; subclasses define observations and rewards.

    `state` holds all that changes: the step count, a secret drawn at the start of each episode, and
    the random stream it is drawn from.
    """

    length = 1  # steps of an episode
    cut = False  # whether an episode's end is a truncation
    num_actions = 2
    vocabulary: Sequence[str] = ("<pad>", "go")
    one_mission = False
    image_shape = (7, 7, 3)  # agents are built for this before they get the probes' encoder
    bits = 1  # of the secret
    seen = 4

    def __init__(self, num_envs: int, tasks: int = 1) -> None:
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.level_ids = [f"probe-{task}" for task in range(tasks)]
        self.task = torch.arange(num_envs) * tasks // num_envs
        self.state = torch.zeros(num_envs, 3, dtype=torch.int64)  # count, secret, stream

    @property
    def situations(self) -> Tensor:
        return torch.zeros(self.num_envs, dtype=torch.int64)

    def reset(self, seed: int | None = None) -> Observation:
        self.state = torch.zeros(self.num_envs, 3, dtype=torch.int64)
        first = divmod(seed or 0, 2**32)
        self.state[:, 2] = (torch.arange(self.num_envs) + sum(first)) * 2654435761 % 2**31
        self._begin(torch.ones(self.num_envs, dtype=torch.bool))
        return self._observe()

    def step(self, actions: Tensor) -> ProbeStep:
        reward = self.reward(self.state[:, 0], self.state[:, 1], actions)
        self.state = self.state.clone()
        self.state[:, 0] += 1
        ended = self.state[:, 0] == self.length
        final = self._observe()
        self._begin(ended)
        never = torch.zeros_like(ended)
        ends = (never, ended) if self.cut else (ended, never)
        return ProbeStep(self._observe(), reward.float(), *ends, self.task, final)

    def _begin(self, where: Tensor) -> None:
        stream = (self.state[:, 2] * 1103515245 + 12345) % 2**31
        fresh = torch.stack([torch.zeros_like(stream), (stream >> 16) % 2**self.bits, stream], 1)
        self.state = torch.where(where.unsqueeze(1), fresh, self.state)

    def _observe(self) -> Observation:
        return {"features": self.observe(self.state[:, 0], self.state[:, 1])}

    def observe(self, count: Tensor, secret: Tensor) -> Tensor:
        """Observations, [B, seen]."""
        return torch.ones(len(count), self.seen)

    def reward(self, count: Tensor, secret: Tensor, actions: Tensor) -> Tensor:
        """Rewards, [B]."""
        raise NotImplementedError


class Bandit(Probe):
    """The second arm pays 1, the first nothing: V = 1."""

    def reward(self, count: Tensor, secret: Tensor, actions: Tensor) -> Tensor:
        return actions == 1


class Endless(Probe):
    """Pays 1 at every step and is truncated after five: V = 1 / (1 − γ), with bootstrapping."""

    length, cut = 5, True

    def reward(self, count: Tensor, secret: Tensor, actions: Tensor) -> Tensor:
        return torch.ones(len(actions))


class Recall(Probe):
    """Shows a secret bit first and asks for it at the last of `length` steps: needs memory."""

    length = 20

    def observe(self, count: Tensor, secret: Tensor) -> Tensor:
        first, last = count == 0, count == self.length - 1
        return torch.stack(
            [first & (secret == 0), first & (secret == 1), last, ~first & ~last], 1
        ).float()

    def reward(self, count: Tensor, secret: Tensor, actions: Tensor) -> Tensor:
        return (count == self.length - 1) * (1.0 * (actions == secret))


class Contexts(Probe):
    """Two contexts with opposite right answers to what is shown: it pays to switch modules.

    The first bit of the secret is the context; each step shows one of the others.
    """

    length, bits = 4, 5

    def observe(self, count: Tensor, secret: Tensor) -> Tensor:
        shown = secret >> (count + 1) & 1
        rows = [torch.nn.functional.one_hot(bit, 2) for bit in (secret & 1, shown)]
        return torch.cat(rows, 1).float()

    def reward(self, count: Tensor, secret: Tensor, actions: Tensor) -> Tensor:
        shown = secret >> (count + 1) & 1
        return 1.0 * (actions == (shown ^ (secret & 1)))


class Linear(torch.nn.Module):
    """The probes' encoder: a linear layer on their features."""

    def __init__(self, seen: int, features: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(seen, features)

    def forward(self, obs: Observation, memory: object) -> Tensor:
        return torch.tanh(self.layer(obs["features"]))
