"""BabyAI's bot at our levels: an episode for a seed, walked by upstream's ``BabyAIBot``.

The engine's episode and its twin of upstream's, made by ``dump``, take the same actions: the bot
sees the one, what is kept comes from the other.
"""

from __future__ import annotations

import contextlib
import io
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from types import FrameType
from typing import Any, TypeVar

import gymnasium
import numpy as np
import torch
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv
from minigrid.utils.baby_ai_bot import BabyAIBot

from .making import make
from .registry import LEVELS, find_level
from .translation.environments import unwrap
from .upstream import dump

PATIENCE = 10.0  # seconds that one decision of the bot may take
SEEDS_A_TASK = 8  # that a worker walks at a time
TASKS_A_WORKER = 3  # under way or done and waiting for those before them
RESTS = 0  # an action for a row whose episode is over

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Demonstration:
    """One seed's episode of T steps, or why there is none.

    Attributes:
        seed: of the episode.
        images: uint8 [T + 1, ...], the last one what the last action led to.
        directions: uint8 [T + 1].
        mission: in upstream's words.
        actions: int64 [T].
        rewards: float32 [T].
        failure: why the bot did not accomplish the mission, empty where it did.
    """

    seed: int
    images: np.ndarray
    directions: np.ndarray
    mission: str
    actions: np.ndarray
    rewards: np.ndarray
    failure: str = ""


class HungError(Exception):
    """Upstream did not return in time."""


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raise `HungError` inside the block when it takes longer; works in a main thread only."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise HungError(f"no answer in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_instructed(id: str) -> None:
    """Refuse a level that gives the bot nothing to follow.

    Raises:
        ValueError: there is no such level, or it has no instruction; the message has what has.
    """
    find_level(id)
    known = id in gymnasium.registry
    if known and isinstance(unwrap(gymnasium.make(id, disable_env_checker=True)), RoomGridLevel):
        return
    count = sum(name.startswith("BabyAI-") for name in LEVELS)
    raise ValueError(
        f"'{id}' has no instruction that BabyAI's bot could follow: it solves BabyAI's {count} "
        "levels, such as BabyAI-GoToLocal-v0, BabyAI-PutNextLocal-v0 and BabyAI-UnlockPickup-v0"
    )


def walks(
    id: str, *, seed: int, observation: str, workers: int
) -> Generator[Demonstration, None, None]:
    """The bot's episodes from one seed after another, without end, the same for any `workers`.

    Args:
        id: a level with instructions.
        seed: the first.
        observation: as `make` takes it.
        workers: processes.
    """
    task = partial(walk, id, observation=observation)
    waiting: deque[Future[list[Demonstration]]] = deque()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_settle)
    try:
        while True:
            while len(waiting) < TASKS_A_WORKER * workers:
                seeds = range(seed, seed + SEEDS_A_TASK)
                waiting.append(pool.submit(task, seeds))
                seed = seeds.stop
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ValueError("a process that walked for the bot died") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _settle() -> None:
    """A worker's beginning: one thread, and Ctrl-C is for the process that has it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def walk(id: str, seeds: range, observation: str = "symbolic") -> list[Demonstration]:
    """The bot's episode of each seed, in a main thread."""
    env = make(id, len(seeds), observation=observation, autoreset=False)
    seen, missions = [env.reset(seeds.start)], env.missions()
    walkers = [Walker(dump(env, row)) for row in range(len(seeds))]
    taken = [torch.zeros(len(seeds), 0, dtype=torch.int64)]
    earned = [torch.zeros(len(seeds), 0)]
    while any(walker.walks for walker in walkers):
        actions = torch.tensor([walker.choose() for walker in walkers])
        step = env.step(actions)
        won = step.terminated & (step.reward > 0)
        for walker, *outcome in zip(walkers, won, step.terminated | step.truncated, strict=True):
            walker.advance(*map(bool, outcome))
        seen.append(step.obs)
        taken.append(actions.unsqueeze(1))
        earned.append(step.reward.unsqueeze(1))
    images, directions = (
        torch.stack([obs[name] for obs in seen], 1).numpy() for name in ("image", "direction")
    )
    acted, rewards = torch.cat(taken, 1).numpy(), torch.cat(earned, 1).numpy()
    return [
        Demonstration(
            seed,
            images[row, : walker.steps + 1],
            directions[row, : walker.steps + 1],
            missions[row],
            acted[row, : walker.steps],
            rewards[row, : walker.steps],
            walker.failure,
        )
        for row, (seed, walker) in enumerate(zip(seeds, walkers, strict=True))
    ]


class Walker:
    """The bot in one of upstream's environments.

    Attributes:
        steps: taken so far.
        walks: whether the episode goes on.
        failure: why it did not end well.
    """

    def __init__(self, env: MiniGridEnv) -> None:
        self.env, self.steps, self.walks, self.failure = env, 0, True, ""
        self._action: int | None = None
        self._bot: Any = self._attempt(lambda: BabyAIBot(env))

    def choose(self) -> int:
        """The next action; any where the episode is over."""
        if self.walks:
            self._action = self._attempt(lambda: int(self._bot.replan(self._action)))
        return RESTS if self._action is None else self._action

    def advance(self, won: bool, ended: bool) -> None:
        """Take the action that was chosen; whether the engine's episode was won or ended by it."""
        if not self.walks:
            return
        self.env.step(self._action)
        self.steps += 1
        self.walks = not ended
        if ended and not won:
            self.failure = "the episode ended before the mission was accomplished"

    def _attempt(self, think: Callable[[], Answer]) -> Answer | None:
        """What the bot thinks; where it fails or hangs it walks no further."""
        try:
            with patience(PATIENCE), contextlib.redirect_stdout(io.StringIO()):
                return think()
        except Exception as error:
            self.walks, self.failure = False, f"{type(error).__name__}: {error}".splitlines()[0]
            return None
