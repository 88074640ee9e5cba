"""Collecting experience, entirely on the environments' device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from .errors import as_usage_errors
from .losses import log_prob_of, log_softmax
from .novelty import nothing_seen, see
from .protocols import Act, Agent, Diagnostics, Environment, Observation, Output, State, Step
from .returns import finished_episodes

TOGETHER = 2**14  # last observations that the agent evaluates in one call, at most


@dataclass(frozen=True)
class Cursor:
    """The state of agent and environments between two steps.

    Attributes:
        obs: the agent's next observations, [B, ...] by name, with ``last_action``, ``last_reward``
            and ``task``.
        state: the agent's hidden state, [B, ...].
        starts: bool [B], whether an episode begins with `obs`.
        so_far: float64 [2, B], return and length so far of the unfinished episodes.
        seen: bool [B, n], situations visited in the unfinished episodes, see `metarims.novelty`; n
            is 0 if that is not tracked.
    """

    obs: Observation
    state: State
    starts: Tensor
    so_far: Tensor
    seen: Tensor


@dataclass(frozen=True)
class Rollout:
    """T steps of B environments.

    Attributes:
        obs, starts, actions, log_probs, values: observations, actions and outputs, [T, B, ...].
        states: hidden states before the steps 0, stride, 2·stride ..., [T / stride, B, ...].
        stride: steps between them.
        next_values: V of the state that each step led to, [T, B].
        rewards, terminated, truncated: [T, B].
        novelty: [T, B], the bonus for where each step led; 0 if that is not tracked.
        task: int64 [B].
        diagnostics: the agent's, [T, B, ...].
        ends: float64 [T, B, 5], return, length, success, first step (relative to this rollout's,
            negative if before it) and task of the episode, where one ended.
    """

    obs: Observation
    starts: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    states: State
    stride: int
    next_values: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    novelty: Tensor
    task: Tensor
    diagnostics: Diagnostics
    ends: Tensor

    @property
    def episodes(self) -> Tensor:
        """The episodes that ended, [episodes, 5], in order of steps; waits for the device."""
        return self.ends[self.terminated | self.truncated]


def beside(one: Rollout, other: Rollout) -> Rollout:
    """Two rollouts of equally many steps as one, with the environments of both."""

    def joined(a: Any, b: Any) -> Any:
        return torch.cat([a, b], batch_axis(a)) if isinstance(a, Tensor) else a

    return Rollout(**tree_map(joined, vars(one), vars(other)))


def batch_axis(x: Tensor) -> int:
    """The axis of environments in a rollout's tensor, [T, B, ...] or [B]."""
    return min(1, x.dim() - 1)


def side_by_side(cursors: Sequence[Cursor]) -> Cursor:
    """The cursors of several runs as one, run after run."""
    parts = [vars(replace(cursor, so_far=cursor.so_far.T)) for cursor in cursors]
    joined = Cursor(**tree_map(lambda *each: torch.cat(each), *parts))
    return replace(joined, so_far=joined.so_far.T)


def run_by_run(cursor: Cursor, runs: int) -> list[Cursor]:
    """The inverse of `side_by_side`."""

    def part(k: int) -> Cursor:
        own = vars(replace(cursor, so_far=cursor.so_far.T))
        mine = Cursor(**tree_map(lambda x: x.chunk(runs)[k], own))
        return replace(mine, so_far=mine.so_far.T)

    return [part(k) for k in range(runs)]


def copied(cursor: Cursor) -> Cursor:
    """A copy of a cursor and its tensors."""
    return Cursor(**tree_map(torch.clone, vars(cursor)))


def overwrite(cursor: Cursor, other: Cursor) -> None:
    """Overwrite a cursor's tensors with another's."""

    def put(own: Tensor, new: Tensor) -> None:
        if own is not new:
            own.copy_(new)

    tree_map(put, vars(cursor), vars(other))


def begin(env: Environment, agent: Agent, seed: int | None = None, curious: bool = False) -> Cursor:
    """Reset the environments and the agent; novelty is tracked if `curious`."""
    with as_usage_errors():
        obs = env.reset(seed)
    count, device = env.num_envs, env.device
    action = torch.zeros(count, dtype=torch.int64, device=device)
    reward = torch.zeros(count, dtype=torch.float32, device=device)
    starts = torch.ones(count, dtype=torch.bool, device=device)
    seen = nothing_seen(env, curious)
    if curious:
        see(seen, env, starts)
    return Cursor(
        with_last(obs, action, reward, env.task),
        agent.initial_state(count),
        starts,
        torch.zeros(2, count, dtype=torch.float64, device=device),
        seen,
    )


def actor_of(agent: Agent) -> Act:
    """The function to act with while the agent's parameters stay the same."""
    own: Callable[[], Act] | None = getattr(agent, "acting", None)
    return agent if own is None else own()


@contextmanager
def exploiting(agent: Agent) -> Iterator[None]:
    """The agent in evaluation mode, in which only its actions are drawn at random."""
    before = agent.training
    agent.train(False)
    try:
        yield
    finally:
        agent.train(before)


def forward_step(act: Act, cursor: Cursor) -> Output:
    """An agent's output for one step: logits [1, B, A], value [1, B]."""
    obs = {name: tensor.unsqueeze(0) for name, tensor in cursor.obs.items()}
    return act(obs, cursor.state, cursor.starts.unsqueeze(0))


def sample(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Actions int64 [...] sampled from logits [..., A], by a race of exponential clocks."""
    return first_of(logits, torch.empty_like(logits).exponential_(generator=generator).log_())


def first_of(logits: Tensor, log_clocks: Tensor) -> Tensor:
    """The winners of a race, [...]: exponential clocks [..., A] run at rates proportional to the
    actions' probabilities, so that normalisation does not matter.
    """
    return (logits - log_clocks).argmax(-1)


def draw_log_clocks(like: Tensor, steps: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Logarithms of exponential clocks for `steps` steps, [T, B, A], where a step's logits are
    `like` [B, A]; each generator draws for one run's environments, on a GPU for all steps at once.
    """
    count, actions = like.shape
    clocks = like.new_empty(len(generators), steps, count // len(generators), actions)
    for own, generator in zip(clocks.unbind(), generators, strict=True):
        for part in own.unbind() if own.device.type == "cpu" else [own]:
            part.exponential_(generator=generator)
    return clocks.transpose(0, 1).flatten(1, 2).log_()


def advance(env: Environment, cursor: Cursor, state: State, actions: Tensor) -> tuple[Step, Cursor]:
    """Step the environments; returns the next cursor, too, with `so_far` and `seen` unchanged."""
    step = env.step(actions)
    obs = with_last(step.obs, actions, step.reward, step.task)
    starts = step.terminated | step.truncated
    return step, Cursor(obs, state, starts, cursor.so_far, cursor.seen)


@torch.no_grad()
def collect_rollout(
    env: Environment,
    agent: Agent,
    cursor: Cursor,
    steps: int,
    stride: int,
    *generators: torch.Generator,
) -> tuple[Rollout, Cursor]:
    """Let the agent act for `steps` steps, keeping its state every `stride`; several runs, with a
    generator each, have their environments side by side.
    """
    act, moments = actor_of(agent), list[Collected]()
    few = counts_rows(env.device, len(generators))
    for t in range(steps):
        output = forward_step(act, cursor)
        if t == 0:
            log_clocks = draw_log_clocks(output.logits[0], steps, generators).unbind()
            nothing = output.value.new_zeros(env.num_envs)
        action = first_of(output.logits[0], log_clocks[t])
        step, after = advance(env, cursor, output.state, action)
        cut_short = _cut_short(step, after, action, few)
        bonus = see(after.seen, env, after.starts) if after.seen.shape[1] else nothing
        moments.append(Collected(cursor, output, action, step, bonus, cut_short))
        cursor = after
    return _assemble(act, moments, cursor, stride, few, len(generators))


def counts_rows(device: torch.device, runs: int) -> bool:
    """Whether only the rows that need it are computed; counting them would make a GPU wait."""
    return device.type == "cpu" and runs == 1


@dataclass(frozen=True)
class CutShort:
    """Environments, int64 [n], whose episodes a step truncated, possibly among others, with their
    last observations and states, [n, ...].
    """

    rows: Tensor
    obs: Observation
    state: State


@dataclass(frozen=True)
class Moment:
    """One step of all environments.

    Attributes:
        cursor: agent and environments before it.
        output: of the agent, [1, B, ...].
        action: int64 [B], what it chose.
        step: the result.
    """

    cursor: Cursor
    output: Output
    action: Tensor
    step: Step


@dataclass(frozen=True)
class Collected(Moment):
    """A step to learn from, with its novelty bonus [B], and the episodes it truncated."""

    novelty: Tensor
    cut_short: CutShort | None


def _assemble(
    act: Act, moments: list[Collected], cursor: Cursor, stride: int, few: bool, runs: int
) -> tuple[Rollout, Cursor]:
    """The moments as a rollout, and the cursor after it."""
    outputs, results = [m.output for m in moments], [m.step for m in moments]
    values = torch.cat([output.value for output in outputs])
    rewards = torch.stack([step.reward for step in results])
    terminated = torch.stack([step.terminated for step in results])
    truncated = torch.stack([step.truncated for step in results])
    actions = torch.stack([m.action for m in moments])
    ended, success = terminated | truncated, terminated & (rewards > 0)
    returns, lengths, so_far = finished_episodes(rewards, ended, cursor.so_far)
    begun = torch.arange(1, len(lengths) + 1, device=lengths.device).unsqueeze(1) - lengths
    task = results[-1].task
    tasks = task.double().expand_as(begun)
    cut_short, states = [m.cut_short for m in moments], [m.cursor.state for m in moments[::stride]]
    rollout = Rollout(
        obs={name: torch.stack([m.cursor.obs[name] for m in moments]) for name in cursor.obs}
        | joined([output.replay for output in outputs]),
        starts=torch.stack([m.cursor.starts for m in moments]),
        actions=actions,
        log_probs=log_prob_of(
            log_softmax(torch.cat([output.logits for output in outputs]))[0], actions
        ),
        values=values,
        states=tuple(map(torch.stack, zip(*states, strict=True))),
        stride=stride,
        next_values=_next_values(
            act, values, cursor, truncated & ~terminated, cut_short, few, runs
        ),
        rewards=rewards,
        terminated=terminated,
        truncated=truncated,
        novelty=torch.stack([m.novelty for m in moments]),
        task=task,
        diagnostics=joined([output.diagnostics for output in outputs]),
        ends=torch.stack([returns, lengths, success.double(), begun, tasks], 2),
    )
    return rollout, replace(cursor, so_far=so_far)


def with_last(obs: Observation, action: Tensor, reward: Tensor, task: Tensor) -> Observation:
    """An agent's observations: the environments', the last action and reward, and the task."""
    return {**obs, "last_action": action, "last_reward": reward, "task": task}


def joined(steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate each step's tensors [1, B, ...], by name, to [T, B, ...]."""
    return {name: torch.cat([step[name] for step in steps]) for name in steps[0]}


def _cut_short(step: Step, cursor: Cursor, action: Tensor, few: bool) -> CutShort | None:
    """The environments that this step truncated, if `few`, or else all."""
    if few:
        rows = (step.truncated & ~step.terminated).nonzero().squeeze(1)
    else:
        rows = torch.arange(len(action), device=action.device)
    if not len(rows):
        return None
    final = with_last(step.final_obs, action, step.reward, step.task)
    if not few:
        return CutShort(rows, final, cursor.state)
    obs = {name: x[rows] for name, x in final.items()}
    return CutShort(rows, obs, tuple(x[rows] for x in cursor.state))


def _next_values(
    act: Act,
    values: Tensor,
    cursor: Cursor,
    truncated: Tensor,
    cut_short: list[CutShort | None],
    few: bool,
    runs: int,
) -> Tensor:
    """V of the state that each step led to, [T, B]."""
    next_values = torch.cat([values[1:], forward_step(act, cursor).value])
    count, flat = values.shape[1], next_values.view(-1)
    parts = [(t, part) for t, part in enumerate(cut_short) if part is not None]
    at_once = len(parts) if few else TOGETHER // count
    for some in in_turn(parts, max(1, at_once)):
        at = together([t * count + part.rows for t, part in some], runs)
        led_to = _value_of(act, [part for _, part in some], runs)
        flat[at] = torch.where(truncated.view(-1)[at], led_to, flat[at])
    return next_values


def in_turn(parts: list[Any], count: int) -> list[list[Any]]:
    """The parts, `count` at a time."""
    return [parts[first : first + count] for first in range(0, len(parts), count)]


def together(tensors: Sequence[Tensor], runs: int) -> Tensor:
    """Tensors [B, ...] of several runs side by side, concatenated run by run."""
    return torch.cat([x.unflatten(0, (runs, -1)) for x in tensors], 1).flatten(0, 1)


def _value_of(act: Act, parts: list[CutShort], runs: int) -> Tensor:
    """V of the last observations, in the order of `together`."""
    obs = {name: together([p.obs[name] for p in parts], runs) for name in parts[0].obs}
    obs = {name: x.unsqueeze(0) for name, x in obs.items()}
    states = zip(*(p.state for p in parts), strict=True)
    state = tuple(together(each, runs) for each in states)
    starts = torch.zeros_like(obs["last_action"], dtype=torch.bool)
    return act(obs, state, starts).value[0]
