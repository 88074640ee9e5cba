"""Success, return and length over a fixed number of fresh episodes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .errors import UsageError, check_between, check_positive
from .protocols import Agent, Environment, Observation, State
from .rollout import Cursor, actor_of, advance, begin, forward_step, sample
from .statistics import wilson_interval

FindEvents = Callable[[Observation], dict[str, Tensor]]  # bool [B] by name
Watch = Callable[[Tensor], None]  # of how many episodes there are, int64 []

GLANCE = 32  # turns between looks at how far it is, and whether a GPU's environments are done
NUM_ENVS = 1000  # at most, that commands evaluate a level in
SEED = 10_000  # of episodes that no training saw: its own seeds count on from 1


@dataclass(frozen=True)
class Evaluation:
    """What an agent did on one level.

    Attributes:
        env: the level's id.
        successes: bool [episodes].
        returns, lengths: float64 [episodes].
        events: by name whether each was seen in an episode, bool [episodes].
    """

    env: str
    successes: Tensor
    returns: Tensor
    lengths: Tensor
    events: dict[str, Tensor] = field(default_factory=dict)

    def share_with(self, succeeded: bool) -> dict[str, float]:
        """Of the episodes that succeeded, or of those that failed, the share with each event."""
        chosen = self.successes == succeeded
        return {name: float(seen[chosen].double().mean()) for name, seen in self.events.items()}

    @property
    def success_rate(self) -> float:
        """Share of episodes that reached their goal."""
        return float(self.successes.double().mean())

    @property
    def success_ci95(self) -> tuple[float, float]:
        """Wilson's interval of the success rate."""
        return wilson_interval(int(self.successes.sum()), len(self.successes))

    @property
    def mean_return(self) -> float:
        """Mean undiscounted return."""
        return float(self.returns.mean())

    @property
    def mean_length(self) -> float:
        """Mean steps of an episode."""
        return float(self.lengths.mean())

    def as_json(self) -> dict[str, object]:
        """The contract's keys."""
        return {
            "env": self.env,
            "episodes": len(self.successes),
            "success_rate": self.success_rate,
            "success_ci95": list(self.success_ci95),
            "mean_return": self.mean_return,
            "mean_length": self.mean_length,
        }


@torch.no_grad()
def evaluate(
    agent: Agent,
    env: Environment,
    episodes: int,
    seed: int = SEED,
    temperature: float = 1.0,
    find_events: FindEvents | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Let the agent act through `episodes` fresh episodes of one level.

    How many episodes each environment gives is settled beforehand, and it gives its first ones:
    stopping at the first `episodes` to finish would favour short episodes.

    Args:
        agent: acts by sampling from its policy.
        env: a batch of one level; at most `episodes` environments are looked at.
        episodes: how many.
        seed: of the environments (counted on) and of the actions.
        temperature: the policy is softmax(logits / temperature), at 0 its likeliest action.
        find_events: what to look for in what the agent sees.
        watch: is shown now and then how far it is.
    """
    check_positive(episodes=episodes)
    check_between(0, math.inf, temperature=temperature)
    if len(env.level_ids) != 1:
        raise UsageError(f"evaluate takes one level at a time, got {', '.join(env.level_ids)}")
    generator = seeded(env.device, seed)
    rank = torch.arange(env.num_envs, device=env.device)
    wanted = (episodes - 1 - rank) // env.num_envs + 1  # shares that differ by one at most
    act, cursor = actor_of(agent), begin(env, agent, seed)
    so_far, done = cursor.so_far, torch.zeros_like(rank)
    find = find_events or (lambda obs: {})
    events = find(cursor.obs)
    seen = torch.zeros(len(events), len(rank), dtype=torch.bool, device=env.device)
    results, counts = [], []
    for turn in itertools.count():
        rows = _at_work(rank, done < wanted, turn)
        if not len(rows):
            break
        if watch and turn % GLANCE == 0:
            watch(done.minimum(wanted).sum())
        for mark, event in zip(seen, find(cursor.obs).values(), strict=True):
            mark |= event
        output = forward_step(act, _only(cursor, rows))
        chosen = sample_at(temperature, output.logits[0], generator)
        actions = torch.zeros_like(rank).index_copy_(0, rows, chosen)
        step, cursor = advance(env, cursor, _put(cursor.state, rows, output.state), actions)
        so_far = so_far + torch.stack([step.reward.double(), torch.ones_like(so_far[1])])
        counted = cursor.starts & (done < wanted)
        success = step.terminated & (step.reward > 0)
        results.append(torch.stack([success.double(), *so_far, *seen.double()]))
        counts.append(counted)
        done = done + cursor.starts
        so_far, seen = so_far * ~cursor.starts, seen & ~cursor.starts
    successes, returns, lengths, *met = torch.cat(results, 1)[:, torch.cat(counts)].cpu()
    found = {name: row.bool() for name, row in zip(events, met, strict=True)}
    return Evaluation(env.level_ids[0], successes.bool(), returns, lengths, found)


def seeded(device: torch.device, seed: int) -> torch.Generator:
    """What actions are drawn with."""
    return torch.Generator(device).manual_seed(seed)


def sample_at(temperature: float, logits: Tensor, generator: torch.Generator) -> Tensor:
    """Actions int64 [B] drawn from softmax(logits / temperature), [B, A]; the likeliest at 0."""
    return sample(logits / temperature, generator) if temperature else logits.argmax(-1)


def _at_work(everyone: Tensor, working: Tensor, turn: int) -> Tensor:
    """The environments to act in, int64 [n]: those at work, bool [B]; on a GPU all until none is,
    which is looked up now and then, for looking waits for the device.
    """
    if everyone.device.type == "cpu":
        return everyone[working]
    return everyone[:0] if turn % GLANCE == 0 and is_over(working) else everyone


def is_over(working: Tensor) -> bool:
    """Whether no environment is at work; waits for the device."""
    return not bool(working.any())


def _only(cursor: Cursor, rows: Tensor) -> Cursor:
    """What the agent needs to act in some of the environments."""
    obs = {name: x[rows] for name, x in cursor.obs.items()}
    state = tuple(x[rows] for x in cursor.state)
    return replace(cursor, obs=obs, state=state, starts=cursor.starts[rows])


def _put(state: State, rows: Tensor, new: State) -> State:
    """The state with some of its rows anew."""
    return tuple(x.index_copy(0, rows, y) for x, y in zip(state, new, strict=True))
