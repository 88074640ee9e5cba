"""Learning from demonstrations, presented as rollouts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from . import ranks
from .errors import UsageError
from .losses import log_prob_of
from .protocols import Agent, Demonstrations, Environment, Observation
from .rollout import Rollout, beside, joined, with_last


class Teacher:
    """Shows demonstrations to B listeners, each of them one episode after another.

    A listener that reaches the end of an episode gets the next one that nobody has been shown yet;
    every pass over the demonstrations has its own order.

    Args:
        demonstrations: what to show.
        agent: its hidden state is carried along.
        env: there is one listener per environment.
        seed: of the orders.
    """

    def __init__(
        self, demonstrations: Demonstrations, agent: Agent, env: Environment, seed: int
    ) -> None:
        device, count = env.device, env.num_envs
        self._seed, self._digest = seed, int(demonstrations.digest[:15], 16)
        self._obs = {name: x.to(device) for name, x in demonstrations.obs.items()}
        self._actions = demonstrations.actions.to(device)
        self._rewards = demonstrations.rewards.to(device)
        known = demonstrations.level in env.level_ids
        task = env.level_ids.index(demonstrations.level) if known else 0
        self._task = torch.full((count,), task, device=device)
        # Listeners are scheduled on the host, so nothing here waits for a device.
        self._ends = demonstrations.ends.cpu()
        self._firsts = torch.cat([torch.zeros(1), self._ends.nonzero().squeeze(1)[:-1] + 1]).long()
        self._order: tuple[int, list[int]] = (-1, [])
        self._taken = 0  # episodes that this rank's listeners have begun
        self._at = self._begin(count)  # index of the step that each is shown next
        self._before = torch.full((count,), -1)  # and of the one before it
        self._state = agent.initial_state(count)

    def lesson(self, agent: Agent, rollout: Rollout) -> Rollout:
        """The next demonstrated steps beside the agent's own rollout; the bool observation `shown`
        tells them apart.
        """
        shown = self.show(agent, len(rollout.starts), rollout.stride)
        return beside(_marked(shown, True), _marked(rollout, False))

    @torch.no_grad()
    def show(self, agent: Agent, steps: int, stride: int) -> Rollout:
        """The next demonstrated steps, [T, B], with the agent's outputs for them.

        Its state is kept every `stride`; episodes that end are not reported.
        """
        rows = self._go_on(steps)
        obs, starts = self._seen(rows)
        states, outputs = [], []
        for first in range(0, steps, stride):
            part = slice(first, first + stride)
            states.append(self._state)
            outputs.append(agent(_cut(obs, part), self._state, starts[part]))
            self._state = outputs[-1].state
        ahead = agent(_cut(obs, slice(steps, None)), self._state, starts[steps:]).value
        values = torch.cat([o.value for o in outputs])
        log_probs = torch.cat([o.logits for o in outputs]).log_softmax(-1)
        shown = rows[1:-1].to(starts.device)
        actions, ends = self._actions[shown], starts[1:]
        return Rollout(
            obs=_cut(obs, slice(steps)) | joined([o.replay for o in outputs]),
            starts=starts[:steps],
            actions=actions,
            log_probs=log_prob_of(log_probs, actions),
            values=values,
            states=tuple(map(torch.stack, zip(*states, strict=True))),
            stride=stride,
            next_values=torch.cat([values[1:], ahead]),
            rewards=self._rewards[shown],
            terminated=ends,
            truncated=torch.zeros_like(ends),
            novelty=torch.zeros_like(values),
            task=self._task,
            diagnostics=joined([o.diagnostics for o in outputs]),
            ends=torch.zeros(*ends.shape, 5, dtype=torch.float64, device=ends.device),
        )

    def tensors(self) -> dict[str, Tensor]:
        """The current position, for `restore`."""
        numbers = {"taken": self._taken, "digest": self._digest}
        found = {name: torch.tensor([number]) for name, number in numbers.items()}
        found |= {"at": self._at, "before": self._before}
        return found | {f"state.{i}": x for i, x in enumerate(self._state)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to a position.

        Raises:
            UsageError: it is one in other demonstrations.
        """
        if int(tensors["digest"]) != self._digest:
            raise UsageError("the demonstrations differ from those the run started with")
        self._taken = int(tensors["taken"])
        self._at, self._before = tensors["at"].cpu(), tensors["before"].cpu()
        device = self._actions.device
        self._state = tuple(tensors[f"state.{i}"].to(device) for i in range(len(self._state)))

    def _go_on(self, steps: int) -> Tensor:
        """Indices of the step before, the steps to show and the one after, int64 [T + 2, B]."""
        rows = [self._before]
        for _ in range(steps):
            rows.append(self._at)
            ended = self._ends[self._at]
            self._at = self._at + 1
            self._at[ended] = self._begin(int(ended.sum()))
        self._before = rows[-1]
        return torch.stack([*rows, self._at])

    def _begin(self, count: int) -> Tensor:
        """Indices of the first steps of the next episodes, int64 [count]."""
        numbers = range(self._taken, self._taken + count)
        self._taken += count
        firsts = [self._first(ranks.rank() + ranks.size() * number) for number in numbers]
        return torch.tensor(firsts, dtype=torch.int64)

    def _first(self, number: int) -> int:
        """Index of the first step of an episode, by its number over all passes."""
        turn, place = divmod(number, len(self._firsts))
        if self._order[0] != turn:
            generator = ranks.own_generator(torch.device("cpu"), self._seed, turn)
            order = torch.randperm(len(self._firsts), generator=generator)
            self._order = turn, self._firsts[order].tolist()
        return self._order[1][place]

    def _seen(self, rows: Tensor) -> tuple[Observation, Tensor]:
        """The observations at all rows but the first, and where episodes start."""
        device = self._actions.device
        nothing = rows[:-1] < 0
        starts = nothing | self._ends[rows[:-1]]
        before, now, nothing = (x.to(device) for x in (rows[:-1], rows[1:], nothing))
        action = self._actions[before].masked_fill(nothing, 0)
        reward = self._rewards[before].masked_fill(nothing, 0)
        obs = {name: x[now] for name, x in self._obs.items()}
        return with_last(obs, action, reward, self._task.expand_as(now)), starts.to(device)


def _cut(obs: Observation, part: slice) -> Observation:
    return {name: x[part] for name, x in obs.items()}


def _marked(rollout: Rollout, shown: bool) -> Rollout:
    mark = {"shown": torch.full_like(rollout.starts, shown)}
    return replace(rollout, obs=rollout.obs | mark)
