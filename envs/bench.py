"""Steps per second of the engine beside its peers, in one run on the same levels.

Every simulator lives in a process of its own, made ready before anything is timed: layouts drawn,
programs compiled, the best of its batch sizes chosen. Then all of them are timed in turn, several
rounds long, so that a disturbance of the machine falls on everyone. Actions are uniformly random
and drawn ahead of time; every episode that ends is followed by a newly generated one.
"""

from __future__ import annotations

import importlib.metadata
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import minigrid  # noqa: F401 (registers upstream's levels)
import numpy as np
import torch

from .batch import make
from .registry import find_level

LEVELS = ("MiniGrid-DoorKey-8x8-v0", "BabyAI-GoToLocal-v0", "BabyAI-BossLevel-v0")
NUM_ENVS = 8192
SEED = 0
CALIBRATION_SECONDS = 0.4
ACTION_SETS = 16

Burst = Callable[[], int]  # advances a batch for a while, gives the steps taken
Start = tuple[int, Burst] | None  # a batch size and its burst; None: not able


@dataclass(frozen=True)
class Simulator:
    """One simulator and how to run it at its best.

    Attributes:
        name: as the table shows it.
        package: what must be installed.
        start: ``(level, num_envs, device)`` to a burst, or None where it lacks the level.
        sizes: the batch sizes to choose from; empty: the engine's.
        on_gpu: whether it runs there.
    """

    name: str
    package: str
    start: Callable[[str, int, str], Burst | None]
    sizes: tuple[int, ...]
    on_gpu: bool

    @property
    def version(self) -> str:
        """The installed version, "" where it is missing."""
        return "this one" if self.package == "envs" else installed_version(self.package)


@dataclass(frozen=True)
class Contender:
    """One that takes part in a race; ``prepare`` is called in a process of its own."""

    name: str
    version: str
    level: str
    prepare: Callable[[], Start]


@dataclass(frozen=True)
class Speed:
    """A contender's speed on one level: the rounds' steps per second."""

    level: str
    name: str
    version: str
    num_envs: int
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Steps per second in the median round."""
        return statistics.median(self.rounds)


def installed_version(package: str) -> str:
    """A package's version, "" where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def start_engine(level: str, num_envs: int, device: str, observation: str = "symbolic") -> Burst:
    """The engine of this package."""
    env = make(level, num_envs=num_envs, device=device, seed=SEED, observation=observation)
    env.reset()
    generator = torch.Generator().manual_seed(SEED)
    draws = torch.randint(env.num_actions, (ACTION_SETS, num_envs), generator=generator)
    actions = draws.to(env.device).unbind()

    def burst() -> int:
        for chosen in actions:
            env.step(chosen)
        if env.device.type == "cuda":
            torch.cuda.synchronize(env.device)
        return num_envs * ACTION_SETS

    return burst


def start_upstream(level: str, num_envs: int, device: str) -> Burst:
    """Upstream's environments in Gymnasium's SyncVectorEnv."""
    env = gymnasium.make_vec(level, num_envs=num_envs, vectorization_mode="sync")
    env.reset(seed=SEED)
    actions = np.random.default_rng(SEED).integers(0, 7, (ACTION_SETS, num_envs))

    def burst() -> int:
        for chosen in actions:
            env.step(chosen)
        return num_envs * ACTION_SETS

    return burst


def start_envpool(level: str, num_envs: int, device: str) -> Burst | None:
    """EnvPool (C++), asynchronous: one half is stepped while the other half is answered."""
    import envpool

    if level not in envpool.list_all_envs():
        return None
    half = num_envs // 2
    threads = os.cpu_count() or 1
    env = envpool.make_gymnasium(
        level, num_envs=num_envs, batch_size=half, num_threads=threads, seed=SEED
    )
    env.async_reset()
    actions = np.random.default_rng(SEED).integers(0, 7, (ACTION_SETS, half)).astype(np.int32)

    def burst() -> int:
        for chosen in actions:
            *_, info = env.recv()
            env.send(chosen, info["env_id"])
        return half * ACTION_SETS

    return burst


def start_navix(level: str, num_envs: int, device: str) -> Burst | None:
    """NAVIX (JAX): jit of scan of vmap, the agent's own view, random starts where there are any."""
    import jax
    import navix
    from navix.observations import symbolic_first_person

    plain = level.replace("MiniGrid-", "Navix-")
    names = [plain.replace("DoorKey-", "DoorKey-Random-"), plain]
    name = next((name for name in names if name in navix.registry()), None)
    if name is None:
        return None
    env = navix.make(name, observation_fn=symbolic_first_person)
    cache = env.reset(jax.random.PRNGKey(SEED)).state.cache

    # The rendering cache is the same everywhere, so it stays out of the batch.
    def with_cache(timestep: Any, kept: Any) -> Any:
        return timestep.replace(state=timestep.state.replace(cache=kept))

    def reset(key: Any) -> Any:
        return with_cache(env.reset(key, cache), None)

    def step(timestep: Any, action: Any) -> Any:
        return with_cache(env.step(with_cache(timestep, cache), action), None)

    return _scan_burst(reset, step, num_envs)


def start_xland(level: str, num_envs: int, device: str) -> Burst | None:
    """XLand-MiniGrid (JAX): jit of scan of vmap, same-step autoreset."""
    import xminigrid
    from xminigrid.wrappers import GymAutoResetWrapper

    name = level.removesuffix("-v0")
    if name not in xminigrid.registered_environments():
        return None
    env, params = xminigrid.make(name)
    env = GymAutoResetWrapper(env)

    def reset(key: Any) -> Any:
        return env.reset(params, key)

    def step(timestep: Any, action: Any) -> Any:
        return env.step(params, timestep, action)

    return _scan_burst(reset, step, num_envs)


def _scan_burst(
    reset: Callable[[Any], Any], step: Callable[[Any, Any], Any], num_envs: int
) -> Burst:
    """A burst of a JAX environment: 2^17 steps in one compiled program."""
    import jax

    length = max(ACTION_SETS, 2**17 // num_envs)
    actions = jax.random.randint(jax.random.PRNGKey(SEED), (length, num_envs), 0, 7)

    def advance(timestep: Any, chosen: Any) -> Any:
        timestep = jax.vmap(step)(timestep, chosen)
        # Sums of what an agent would read, so that the compiler cannot leave it out.
        return timestep, (timestep.observation.sum(), timestep.reward.sum())

    roll = jax.jit(lambda timestep: jax.lax.scan(advance, timestep, actions), donate_argnums=0)
    timestep = jax.jit(jax.vmap(reset))(jax.random.split(jax.random.PRNGKey(SEED), num_envs))
    # Twice: the first call's result has other (weak) types than a reset: the second compiles too.
    for _ in range(2):
        timestep, sums = roll(timestep)
    jax.block_until_ready(sums)

    def burst() -> int:
        nonlocal timestep
        timestep, sums = roll(timestep)
        jax.block_until_ready(sums)
        return num_envs * length

    return burst


SIMULATORS = (
    Simulator("engine", "envs", start_engine, (), True),
    Simulator("minigrid", "minigrid", start_upstream, (16,), False),
    Simulator("EnvPool", "envpool", start_envpool, (256, 1024, 4096), False),
    Simulator("NAVIX", "navix", start_navix, (256, 2048, 8192), True),
    Simulator("XLand-MiniGrid", "xminigrid", start_xland, (256, 2048, 8192), True),
    Simulator("engine, pixels", "envs", partial(start_engine, observation="rgb"), (), True),
)
GPU_SIZES = tuple(2**power for power in range(12, 18))


def time_burst(burst: Burst, seconds: float) -> float:
    """Steps per second over at least ``seconds``."""
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        steps += burst()
    return steps / elapsed


def start_best(simulator: Simulator, level: str, sizes: Sequence[int], device: str) -> Start:
    """The simulator at the fastest of the batch sizes; None where it lacks the level."""
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    best, size = 0.0, sizes[0]
    for num_envs in sizes if len(sizes) > 1 else ():
        burst = simulator.start(level, num_envs, device)
        if burst is None:
            return None
        rate = time_burst(burst, CALIBRATION_SECONDS)
        if rate > best:
            best, size = rate, num_envs
    burst = simulator.start(level, size, device)
    if burst is None:
        return None
    burst()
    return size, burst


def serve(pipe: Connection, prepare: Callable[[], Start]) -> None:
    """Get ready and send the batch size, 0 for unable; then a rate for each duration received."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # upstream prints in resets
        size, burst = prepare() or (0, None)
        pipe.send(size)
        while burst is not None and (seconds := pipe.recv()):
            pipe.send(time_burst(burst, seconds))


class _Worker:
    """A contender's process, the pipe to it, and what it has measured so far."""

    def __init__(self, contender: Contender) -> None:
        """Start the process and wait until it is ready."""
        context = multiprocessing.get_context("spawn")
        self.contender, self.rounds = contender, list[float]()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, contender.prepare))
        self.process.start()
        theirs.close()
        try:
            self.num_envs = self.pipe.recv()
        except EOFError:  # the process failed; its traceback is on stderr
            self.num_envs = 0

    def time(self, seconds: float) -> None:
        """Run one round."""
        self.pipe.send(seconds)
        self.rounds.append(self.pipe.recv())

    def close(self) -> None:
        """End the process, which waits for a duration; 0 ends it."""
        if self.num_envs and self.process.is_alive():
            self.pipe.send(0.0)
        self.process.join()


def race(contenders: Sequence[Contender], seconds: float, rounds: int) -> list[Speed]:
    """Time the contenders in turn, ``rounds`` times; those that cannot run are left out."""
    with ExitStack() as stack:
        workers = []
        for contender in contenders:
            workers.append(_Worker(contender))
            stack.callback(workers[-1].close)
        able = [worker for worker in workers if worker.num_envs]
        for _ in range(rounds):
            for worker in able:
                worker.time(seconds)
    return [
        Speed(w.contender.level, w.contender.name, w.contender.version, w.num_envs, tuple(w.rounds))
        for w in able
    ]


def contenders(level: str, num_envs: int, device: str) -> list[Contender]:
    """The installed simulators that run on the device, the engine first."""
    found = []
    for simulator in SIMULATORS:
        if simulator.version and (device == "cpu" or simulator.on_gpu):
            sizes = simulator.sizes if device == "cpu" else GPU_SIZES
            prepare = partial(
                start_best, simulator, level, sizes if simulator.sizes else (num_envs,), device
            )
            found.append(Contender(simulator.name, simulator.version, level, prepare))
    return found


def measure(
    levels: Sequence[str] = LEVELS,
    num_envs: int = NUM_ENVS,
    device: str = "cpu",
    seconds: float = 2.0,
    rounds: int = 5,
) -> list[Speed]:
    """Measure steps per second on every level.

    Args:
        levels: ids from ``envs.levels()``.
        num_envs: the engine's batch size.
        device: "cpu" or "cuda"; on a GPU only the simulators that run there take part.
        seconds: length of a round.
        rounds: how often each simulator is timed.

    Raises:
        ValueError: an unknown level.
    """
    for level in levels:
        find_level(level)
    return [
        speed
        for level in levels
        for speed in race(contenders(level, num_envs, device), seconds, rounds)
    ]


def ratios(speeds: Sequence[Speed], reference: str) -> list[float]:
    """Each one's speed over the reference's on the same level; NaN where that was not measured."""
    known = {speed.level: speed.median for speed in speeds if speed.name == reference}
    return [speed.median / known.get(speed.level, math.nan) for speed in speeds]


def table(speeds: Sequence[Speed], title: str, ratios: Sequence[float]) -> str:
    """The measurements as text, with a last column of ratios under its title."""
    lines = [
        f"{'level':28}{'name':16}{'version':>10}{'envs':>8}{'per second':>14}"
        f"{'min':>14}{'max':>14}{title:>14}"
    ]
    for speed, ratio in zip(speeds, ratios, strict=True):
        lines.append(
            f"{speed.level:28}{speed.name:16}{speed.version:>10}{speed.num_envs:>8}"
            f"{speed.median:>14,.0f}{min(speed.rounds):>14,.0f}{max(speed.rounds):>14,.0f}"
            f"{'' if math.isnan(ratio) else f'{ratio:,.1f} x':>14}"
        )
    return "\n".join(lines)


def as_json(speeds: Sequence[Speed]) -> list[dict[str, object]]:
    """The measurements as plain values, a dictionary each."""
    return [
        {
            "level": speed.level,
            "name": speed.name,
            "version": speed.version,
            "num_envs": speed.num_envs,
            "steps_per_second": speed.median,
            "rounds": list(speed.rounds),
        }
        for speed in speeds
    ]
