"""Success, return and length over a fixed number of fresh episodes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .errors import UsageError, check_between, check_positive
from .protocols import Agent, Environment, Observation, State
from .rollout import Cursor, Moment, actor_of, advance, begin, exploiting, forward_step, sample
from .statistics import wilson_interval

FindEvents = Callable[[Observation], dict[str, Tensor]]  # bool [B] by name
Watch = Callable[[Tensor], None]  # takes the number of episodes so far, int64 []

GLANCE = 32  # steps between progress reports and, on a GPU, checks whether all have finished
NUM_ENVS = 1000  # with which commands evaluate a level, at most
EVALUATED = "eval/"  # what the figures of other levels begin with, among a run's metrics
SEED = 10_000  # of episodes unseen in training, whose seeds are far larger


@dataclass(frozen=True)
class Evaluation:
    """An agent's results on one level.

    Attributes:
        env: the level's id.
        successes: bool [episodes].
        returns, lengths: float64 [episodes].
        events: by name, whether each occurred in an episode, bool [episodes].
    """

    env: str
    successes: Tensor
    returns: Tensor
    lengths: Tensor
    events: dict[str, Tensor] = field(default_factory=dict)

    def share_with(self, succeeded: bool) -> dict[str, float]:
        """Share of the successful, or of the failed, episodes in which each event occurred."""
        chosen = self.successes == succeeded
        return {name: float(seen[chosen].double().mean()) for name, seen in self.events.items()}

    @property
    def success_rate(self) -> float:
        """Share of episodes that reached their goal."""
        return float(self.successes.double().mean())

    @property
    def success_ci95(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(int(self.successes.sum()), len(self.successes))

    @property
    def mean_return(self) -> float:
        """Mean undiscounted return."""
        return float(self.returns.mean())

    @property
    def mean_length(self) -> float:
        """Mean episode length in steps."""
        return float(self.lengths.mean())

    def as_json(self) -> dict[str, object]:
        """The summary, as written to JSON files."""
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
    """Run the agent for `episodes` fresh episodes of one level.

    How many episodes each environment contributes is fixed in advance, and its first ones count:
    stopping at the first `episodes` to finish would favour short ones.

    Args:
        agent: samples its actions from its policy; a router takes its best choices.
        env: a batch of one level; at most `episodes` environments are used.
        episodes: number of episodes.
        seed: of the environments (seed + i) and the actions.
        temperature: the policy is softmax(logits / temperature), greedy at 0.
        find_events: events to look for in the agent's observations.
        watch: called now and then with the number of episodes so far.
    """
    check_positive(episodes=episodes)
    check_between(0, math.inf, temperature=temperature)
    if len(env.level_ids) != 1:
        raise UsageError(f"evaluate takes one level at a time, got {', '.join(env.level_ids)}")
    generator = seeded(env.device, seed)
    rank = torch.arange(env.num_envs, device=env.device)
    wanted = (episodes - 1 - rank) // env.num_envs + 1  # shares differ by at most one
    act, cursor = actor_of(agent), begin(env, agent, seed)
    so_far, done = cursor.so_far, torch.zeros_like(rank)
    find = find_events or nothing
    events, seen = find(cursor.obs), _events(find, cursor)
    results, counts = [], []
    with exploiting(agent):
        for turn in itertools.count():
            rows = _at_work(rank, done < wanted, turn)
            if not len(rows):
                break
            if watch and turn % GLANCE == 0:
                watch(done.minimum(wanted).sum())
            output = forward_step(act, _only(cursor, rows))
            chosen = sample_at(temperature, output.logits[0], generator)
            actions = torch.zeros_like(rank).index_copy_(0, rows, chosen)
            step, cursor = advance(env, cursor, _put(cursor.state, rows, output.state), actions)
            so_far = so_far + torch.stack([step.reward.double(), torch.ones_like(so_far[1])])
            counted = cursor.starts & (done < wanted)
            success = step.terminated & (step.reward > 0)
            seen = seen | _events(find, cursor, step.final_obs)
            results.append(torch.stack([success.double(), *so_far, *seen.double()]))
            counts.append(counted)
            done = done + cursor.starts
            so_far = so_far * ~cursor.starts
            seen = torch.where(cursor.starts, _events(find, cursor), seen)
    successes, returns, lengths, *met = torch.cat(results, 1)[:, torch.cat(counts)].cpu()
    found = {name: row.bool() for name, row in zip(events, met, strict=True)}
    return Evaluation(env.level_ids[0], successes.bool(), returns, lengths, found)


@torch.no_grad()
def follow(
    agent: Agent, env: Environment, seed: int = SEED, temperature: float = 1.0
) -> Iterator[Moment]:
    """The agent at work, step by step and without end; it keeps its parameters meanwhile.

    Args:
        agent, temperature: as for `evaluate`.
        env: a batch of one or several levels, which begins anew.
        seed: of the environments (seed + i) and the actions.

    Yields:
        For each step its ``cursor`` (observations, states and where episodes begin, before it),
        ``output`` (logits, value and diagnostics, [1, B, ...]), ``action`` [B] and ``step``.
    """
    check_between(0, math.inf, temperature=temperature)
    generator = seeded(env.device, seed)
    act, cursor = actor_of(agent), begin(env, agent, seed)
    while True:
        with exploiting(agent):
            output = forward_step(act, cursor)
        action = sample_at(temperature, output.logits[0], generator)
        step, after = advance(env, cursor, output.state, action)
        yield Moment(cursor, output, action, step)
        cursor = after


def nothing(obs: Observation) -> dict[str, Tensor]:
    """No events."""
    return {}


def _events(find: FindEvents, cursor: Cursor, obs: Observation | None = None) -> Tensor:
    """The events in observations, by default in the cursor's, bool [events, B]."""
    found = [*find(cursor.obs if obs is None else obs).values()]
    return torch.stack(found) if found else cursor.starts.new_zeros(0, len(cursor.starts))


def seeded(device: torch.device, seed: int) -> torch.Generator:
    """A generator for drawing actions."""
    return torch.Generator(device).manual_seed(seed)


def sample_at(temperature: float, logits: Tensor, generator: torch.Generator) -> Tensor:
    """Actions int64 [B] sampled from softmax(logits / temperature), [B, A]; greedy at 0."""
    return sample(logits / temperature, generator) if temperature else logits.argmax(-1)


def _at_work(everyone: Tensor, working: Tensor, turn: int) -> Tensor:
    """The environments to act in, int64 [n]: those `working`, bool [B]; on a GPU all of them until
    none is, which is checked only now and then, as a check synchronises with the device.
    """
    if everyone.device.type == "cpu":
        return everyone[working]
    return everyone[:0] if turn % GLANCE == 0 and is_over(working) else everyone


def is_over(working: Tensor) -> bool:
    """Whether no environment is working; synchronises with the device."""
    return not bool(working.any())


def _only(cursor: Cursor, rows: Tensor) -> Cursor:
    """The part of a cursor that the agent needs to act in some of the environments."""
    obs = {name: x[rows] for name, x in cursor.obs.items()}
    state = tuple(x[rows] for x in cursor.state)
    return replace(cursor, obs=obs, state=state, starts=cursor.starts[rows])


def _put(state: State, rows: Tensor, new: State) -> State:
    """The state with some of its rows replaced."""
    return tuple(x.index_copy(0, rows, y) for x, y in zip(state, new, strict=True))
