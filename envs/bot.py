"""BabyAI's bot on our levels: one episode per seed, played by upstream's ``BabyAIBot``.

The engine's episode and its upstream twin, made by ``dump``, take the same actions: the bot acts in
the twin, the data come from the engine.
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
SEEDS_A_TASK = 8  # batched in one task of a worker
TASKS_A_WORKER = 3  # running, or done and waiting for earlier ones
RESTS = 0  # the action of an environment whose episode is over

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Demonstration:
    """One seed's episode of T steps, and why the bot failed if it did.

    Attributes:
        seed: of the episode.
        images: uint8 [T + 1, ...], including the one after the last action.
        directions: uint8 [T + 1].
        mission: upstream's text.
        actions: int64 [T].
        rewards: float32 [T].
        failure: why the bot did not accomplish the mission, "" if it did.
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
    """Raise `HungError` inside the block if it takes longer; main thread only."""

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
    """Refuse a level without an instruction for the bot to follow.

    Raises:
        ValueError: there is no such level, or it has no instruction (the message has examples).
    """
    find_level(id)
    known = id in gymnasium.registry
    if known and isinstance(unwrap(gymnasium.make(id, disable_env_checker=True)), RoomGridLevel):
        return
    count = sum(name.startswith("BabyAI-") for name in LEVELS)
    raise ValueError(
        f"'{id}' has no instruction that BabyAI's bot can follow: it solves BabyAI's {count} "
        "levels, such as BabyAI-GoToLocal-v0, BabyAI-PutNextLocal-v0 and BabyAI-UnlockPickup-v0"
    )


def walks(
    id: str, *, seed: int, observation: str, workers: int
) -> Generator[Demonstration, None, None]:
    """The bot's episodes from consecutive seeds, without end, the same for any `workers`.

    Args:
        id: a level with instructions.
        seed: the first seed.
        observation: as in `make`.
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
        raise ValueError("a process running the bot died") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _settle() -> None:
    """Set up a worker: one thread, Ctrl-C left to the main process."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def walk(id: str, seeds: range, observation: str = "symbolic") -> list[Demonstration]:
    """The bot's episode for each seed; main thread only."""
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
    """The bot in one upstream environment.

    Attributes:
        steps: taken so far.
        walks: whether the bot is still playing.
        failure: why it did not accomplish the mission.
    """

    def __init__(self, env: MiniGridEnv) -> None:
        self.env, self.steps, self.walks, self.failure = env, 0, True, ""
        self._action: int | None = None
        self._bot: Any = self._attempt(lambda: BabyAIBot(env))

    def choose(self) -> int:
        """The next action; arbitrary once the bot has stopped."""
        if self.walks:
            self._action = self._attempt(lambda: int(self._bot.replan(self._action)))
        return RESTS if self._action is None else self._action

    def advance(self, won: bool, ended: bool) -> None:
        """Take the chosen action; ``won`` and ``ended`` tell how the engine's episode fared."""
        if not self.walks:
            return
        self.env.step(self._action)
        self.steps += 1
        self.walks = not ended
        if ended and not won:
            self.failure = "the episode ended before the mission was accomplished"

    def _attempt(self, think: Callable[[], Answer]) -> Answer | None:
        """The bot's answer; if it fails or hangs, record why and stop."""
        try:
            with patience(PATIENCE), contextlib.redirect_stdout(io.StringIO()):
                return think()
        except Exception as error:
            self.walks, self.failure = False, f"{type(error).__name__}: {error}".splitlines()[0]
            return None
