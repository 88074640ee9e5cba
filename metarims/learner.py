"""The training iteration: Algorithm 1 of Madan et al. 2021 with PPO in both loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import TrainConfig
from .ppo import (
    approximate_kl,
    clipped_policy_loss,
    entropy_of,
    explained_variance,
    log_prob_of,
    squared_value_loss,
)
from .protocols import Agent, Environment
from .returns import generalized_advantages
from .rollout import (
    Cursor,
    Rollout,
    Sequences,
    collect_rollout,
    cut,
    minibatches,
    with_current_log_probs,
)
from .schedule import Loop, Schedule

Figures = dict[str, Tensor]


@dataclass(frozen=True)
class Iteration:
    """What an iteration saw and did: its rollouts and, by loop, the means of each loss figure."""

    rollouts: list[Rollout]
    figures: dict[str, Figures]


class Learner:
    """An agent with its optimiser and the schedule it learns by.

    There is one Adam, with a parameter group for each of the agent's. A loop leaves the gradients
    of other groups unset, and Adam passes them over, moments and step counts included: loops over
    disjoint groups thus have an optimiser each, and a group in both loops keeps one set of moments.
    """

    def __init__(
        self, agent: Agent, schedule: Schedule, config: TrainConfig, device: torch.device
    ) -> None:
        self.agent, self.schedule, self.config = agent, schedule, config
        self.groups = agent.groups()
        self.optimizer = torch.optim.Adam(
            [{"params": group, "name": name} for name, group in self.groups.items()],
            lr=0.0,
            eps=1e-5,
            fused=True,
        )
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.updates = 0
        self.frames = 0

    def iterate(self, env: Environment, cursor: Cursor) -> tuple[Iteration, Cursor]:
        """One turn of Algorithm 1's while loop: lines 3 to 9."""
        rollouts, figures = [], {}
        for loop in self.schedule.loops:  # the fast one, then the slow; or one that learns all
            if loop.data == "fresh":
                rollout, cursor = self._sample_trajectories(env, cursor)
                rollouts.append(rollout)
            sequences = self._sequences(rollouts[-1], loop)
            if loop.data == "reuse":
                sequences = with_current_log_probs(self.agent, sequences)
            self._release(loop)
            seen = [
                self._learn(loop, batch)
                for task in self._tasks(sequences, loop)
                for _ in range(loop.epochs)
                for batch in minibatches(task, loop.minibatches, self.generator)
            ]
            figures[loop.name] = _means(seen)
        return Iteration(rollouts, figures), cursor

    def _sample_trajectories(self, env: Environment, cursor: Cursor) -> tuple[Rollout, Cursor]:
        schedule = self.schedule
        self.frames += schedule.steps * env.num_envs
        return collect_rollout(
            env, self.agent, cursor, schedule.steps, schedule.shortest_span, self.generator
        )

    def _sequences(self, rollout: Rollout, loop: Loop) -> Sequences:
        advantages = generalized_advantages(
            rollout.rewards * self.config.reward_scale,
            rollout.values,
            rollout.next_values,
            rollout.terminated,
            rollout.truncated,
            self.config.discount,
            self.config.gae_lambda,
        )
        return cut(rollout, advantages, advantages + rollout.values, loop.span)

    def _tasks(self, sequences: Sequences, loop: Loop) -> Iterator[Sequences]:
        """The data of one inner step after another: each task's, or all at once."""
        if not loop.per_task:
            yield sequences
            return
        for task in torch.unique(sequences.task):
            yield sequences.take(torch.nonzero(sequences.task == task).squeeze(1))

    def _release(self, loop: Loop) -> None:
        """Let the loop's groups learn at their rates, and nothing else."""
        annealed = max(0.1, 1 - self.frames / self.config.anneal_frames)
        for group in self.optimizer.param_groups:
            group["lr"] = annealed * loop.learning_rate * loop.rates.get(group["name"], 1.0)
            for parameter in group["params"]:
                parameter.requires_grad_(group["name"] in loop.groups)

    def _learn(self, loop: Loop, batch: Sequences) -> Figures:
        """One step of gradient descent on the PPO loss."""
        config = self.config
        output = self.agent(batch.obs, batch.state, batch.starts)
        log_probs = output.logits.log_softmax(-1)
        log_ratio = log_prob_of(log_probs, batch.actions) - batch.log_probs
        ratio = log_ratio.exp()
        advantages = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-8)
        policy_loss = clipped_policy_loss(ratio, advantages, config.clip)
        entropy = entropy_of(log_probs).mean()
        value_loss = squared_value_loss(output.value, batch.returns)
        loss = policy_loss - config.entropy * entropy
        if loop.value_loss:
            loss = loss + config.value_weight * value_loss
        if output.loss is not None:
            loss = loss + output.loss(advantages)
        self.optimizer.zero_grad()
        loss.backward()
        learning = [p for name in loop.groups for p in self.groups[name]]
        norm = torch.nn.utils.clip_grad_norm_(learning, config.max_grad_norm)
        kl = approximate_kl(log_ratio.detach())
        # Fused Adam looks at this, on the device, and leaves everything as it was where it is 1.
        skip = (kl > config.target_kl) | ~torch.isfinite(norm)
        self.optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.updates += 1
        with torch.no_grad():
            return {
                "loss": loss.detach(),
                "policy_gradient_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "entropy_loss": -entropy.detach(),
                "approx_kl": kl,
                "skipped": skip.float(),
                "clip_fraction": ((ratio - 1).abs() > config.clip).float().mean(),
                "explained_variance": explained_variance(output.value, batch.returns),
                "gradient_norm": norm,
            }


def _means(figures: list[Figures]) -> Figures:
    return {name: torch.stack([row[name] for row in figures]).mean() for name in figures[0]}
