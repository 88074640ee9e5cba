"""Collecting experience and cutting it into spans, all on the environments' device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import UsageError
from .ppo import log_prob_of
from .protocols import Agent, Diagnostics, Environment, Observation, Output, State, Step
from .returns import finished_episodes


@dataclass(frozen=True)
class Cursor:
    """Where agent and environments stand between two steps.

    Attributes:
        obs: what the agent sees next, [B, ...] by name, with ``last_action``, ``last_reward``
            and ``task``.
        state: the agent's, [B, ...].
        starts: bool [B], whether an episode begins with `obs`.
        so_far: float64 [2, B], return and length of the unfinished episodes.
    """

    obs: Observation
    state: State
    starts: Tensor
    so_far: Tensor


@dataclass(frozen=True)
class Rollout:
    """T steps of B environments.

    Attributes:
        obs, starts, actions, log_probs, values: what was seen, done and thought, [T, B, ...].
        states: the agent's before the steps 0, stride, 2·stride ..., [T / stride, B, ...].
        next_values: V of what each step led to, [T, B].
        rewards, terminated, truncated: [T, B].
        task: int64 [B].
        diagnostics: the agent's, [T, B, ...].
        returns, lengths: of the episodes that ended, in the order of steps; `successes` bool.
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
    task: Tensor
    diagnostics: Diagnostics
    episodes: Tensor  # float64 [episodes, 3]: return, length, success


def begin(env: Environment, agent: Agent, seed: int | None = None) -> Cursor:
    """Reset the environments and the agent."""
    obs = env.reset(seed)
    count, device = env.num_envs, env.device
    return Cursor(
        _with_last(
            obs,
            torch.zeros(count, dtype=torch.int64, device=device),
            torch.zeros(count, device=device),
            env.task,
        ),
        agent.initial_state(count),
        torch.ones(count, dtype=torch.bool, device=device),
        torch.zeros(2, count, dtype=torch.float64, device=device),
    )


def look(agent: Agent, cursor: Cursor) -> Output:
    """The agent's output for one step: logits [1, B, A], value [1, B]."""
    obs = {name: tensor.unsqueeze(0) for name, tensor in cursor.obs.items()}
    return agent(obs, cursor.state, cursor.starts.unsqueeze(0))


def sample(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Actions int64 [...] drawn from logits [..., A], by the race of exponential clocks."""
    clocks = torch.empty_like(logits).exponential_(generator=generator)
    return (logits.softmax(-1) / clocks).argmax(-1)


def advance(env: Environment, cursor: Cursor, state: State, actions: Tensor) -> tuple[Step, Cursor]:
    """Step the environments; the cursor after it, its `so_far` unchanged."""
    step = env.step(actions)
    obs = _with_last(step.obs, actions, step.reward, step.task)
    return step, Cursor(obs, state, step.terminated | step.truncated, cursor.so_far)


@torch.no_grad()
def collect_rollout(
    env: Environment,
    agent: Agent,
    cursor: Cursor,
    steps: int,
    stride: int,
    generator: torch.Generator,
) -> tuple[Rollout, Cursor]:
    """Let the agent act for `steps` steps, keeping its state every `stride`."""
    seen, outputs, actions, results, cut_short = [], [], [], [], []
    states = []
    for t in range(steps):
        if t % stride == 0:
            states.append(cursor.state)
        output = look(agent, cursor)
        action = sample(output.logits[0], generator)
        seen.append(cursor)
        outputs.append(output)
        actions.append(action)
        step, cursor = advance(env, cursor, output.state, action)
        results.append(step)
        cut_short.append(_cut_short(step, cursor, action))
    logits = torch.cat([output.logits for output in outputs])
    values = torch.cat([output.value for output in outputs])
    rewards = torch.stack([step.reward for step in results])
    terminated = torch.stack([step.terminated for step in results])
    truncated = torch.stack([step.truncated for step in results])
    taken = torch.stack(actions)
    ended = terminated | truncated
    returns, lengths, so_far = finished_episodes(rewards, ended, cursor.so_far)
    success = terminated & (rewards > 0)
    rollout = Rollout(
        obs={name: torch.stack([c.obs[name] for c in seen]) for name in cursor.obs}
        | _joined([output.replay for output in outputs]),
        starts=torch.stack([c.starts for c in seen]),
        actions=taken,
        log_probs=log_prob_of(logits.log_softmax(-1), taken),
        values=values,
        states=tuple(map(torch.stack, zip(*states, strict=True))),
        stride=stride,
        next_values=_next_values(agent, values, cursor, truncated & ~terminated, cut_short),
        rewards=rewards,
        terminated=terminated,
        truncated=truncated,
        task=results[-1].task,
        diagnostics=_joined([output.diagnostics for output in outputs]),
        episodes=torch.stack([returns[ended], lengths[ended], success[ended].double()], 1),
    )
    return rollout, replace(cursor, so_far=so_far)


def _with_last(obs: Observation, action: Tensor, reward: Tensor, task: Tensor) -> Observation:
    return {**obs, "last_action": action, "last_reward": reward, "task": task}


def _joined(steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors [1, B, ...] by name of each step to [T, B, ...]."""
    return {name: torch.cat([step[name] for step in steps]) for name in steps[0]}


def _cut_short(step: Step, cursor: Cursor, action: Tensor) -> tuple[Observation, State] | None:
    """Last observations and states of the episodes that this step truncated."""
    rows = torch.nonzero(step.truncated & ~step.terminated).squeeze(1)
    if not len(rows):
        return None
    final = _with_last(step.final_obs, action, step.reward, step.task)
    return {name: x[rows] for name, x in final.items()}, tuple(x[rows] for x in cursor.state)


def _next_values(
    agent: Agent,
    values: Tensor,
    cursor: Cursor,
    truncated: Tensor,
    cut_short: list[tuple[Observation, State] | None],
) -> Tensor:
    """V of what each step led to, [T, B]."""
    next_values = torch.cat([values[1:], look(agent, cursor).value])
    parts = [part for part in cut_short if part is not None]
    if parts:
        obs = {name: torch.cat([p[0][name] for p in parts]).unsqueeze(0) for name in cursor.obs}
        state = tuple(map(torch.cat, zip(*(p[1] for p in parts), strict=True)))
        starts = torch.zeros(obs["last_action"].shape, dtype=torch.bool, device=values.device)
        next_values[truncated] = agent(obs, state, starts).value[0]
    return next_values


@dataclass(frozen=True)
class Sequences:
    """N spans to learn from: [S, N, ...], the state before each [N, ...], its task [N]."""

    obs: Observation
    state: State
    starts: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    task: Tensor

    def take(self, rows: Tensor) -> Sequences:
        """The spans `rows`, int64."""
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
    """The rollout in spans; N = T / span · B."""
    if span % rollout.stride:
        raise UsageError(f"span must be a multiple of {rollout.stride}, got {span}")

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
def with_current_log_probs(agent: Agent, sequences: Sequences) -> Sequences:
    """The same spans with the log-probabilities that the agent gives their actions now."""
    logits = agent(sequences.obs, sequences.state, sequences.starts).logits
    log_probs = log_prob_of(logits.log_softmax(-1), sequences.actions)
    return replace(sequences, log_probs=log_probs)


def minibatches(
    sequences: Sequences, parts: int, generator: torch.Generator
) -> Iterator[Sequences]:
    """One pass over the spans in random order, in `parts` parts."""
    count = len(sequences.task)
    order = torch.randperm(count, generator=generator, device=sequences.task.device)
    for rows in order.chunk(parts):
        yield sequences.take(rows)
