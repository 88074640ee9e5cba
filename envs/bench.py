"""The engine and its peers, prepared to be timed on the same level.

Before timing, layouts are drawn, programs compiled and the fastest batch size chosen. Actions are
uniformly random and drawn ahead of time; every episode that ends is followed by a newly generated
one.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import gymnasium
import minigrid  # noqa: F401 (registers upstream's levels)
import numpy as np
import torch

from .making import make

LEVELS = ("MiniGrid-DoorKey-8x8-v0", "BabyAI-GoToLocal-v0", "BabyAI-BossLevel-v0")
NUM_ENVS = 8192
SEED = 0
CALIBRATION_SECONDS = 0.4
ACTION_SETS = 16

PyTree: TypeAlias = Any  # JAX's: arrays, or nested structures of them
Burst = Callable[[], int]  # advances a batch for a while, returns the steps taken
Timer = Callable[[Burst, float], float]  # a burst's rate over at least these seconds
Start = tuple[int, Burst] | None  # a batch size and its burst; None: no such level


@dataclass(frozen=True)
class Simulator:
    """One simulator and how to run it at its fastest.

    Attributes:
        name: as the table shows it.
        package: the package to install.
        start: ``(level, num_envs, device)`` to a burst, or None if it lacks the level.
        sizes: the batch sizes to try on a CPU (on a GPU, ``GPU_SIZES``); empty: the one asked for.
        on_gpu: whether it runs on a GPU.
    """

    name: str
    package: str
    start: Callable[[str, int, str], Burst | None]
    sizes: tuple[int, ...]
    on_gpu: bool

    @property
    def version(self) -> str:
        """The installed version, "" if it is missing."""
        return "this one" if self.package == "envs" else installed_version(self.package)


@dataclass(frozen=True)
class Contender:
    """A participant in a race; ``prepare`` is called in a process of its own."""

    name: str
    version: str
    level: str
    prepare: Callable[[Timer], Start]


def installed_version(package: str) -> str:
    """A package's version, "" if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def start_engine(
    level: str,
    num_envs: int,
    device: str,
    observation: str = "symbolic",
    capture: bool = True,
) -> Burst:
    """The engine of this package; on a GPU its steps are one CUDA graph if ``capture``, as those of
    JAX's peers are one program.
    """
    env = make(level, num_envs=num_envs, device=device, seed=SEED, observation=observation)
    env.reset()
    generator = torch.Generator().manual_seed(SEED)
    draws = torch.randint(env.num_actions, (ACTION_SETS, num_envs), generator=generator)
    actions = draws.to(env.device).unbind()

    def step() -> None:
        for chosen in actions:
            env.step(chosen)

    on_gpu = env.device.type == "cuda"
    advance = captured(step, env.device) if on_gpu and capture else step

    def burst() -> int:
        advance()
        if on_gpu:
            torch.cuda.synchronize(env.device)
        return num_envs * ACTION_SETS

    return burst


def captured(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A replay of the work as one CUDA graph, captured after one warm-up run."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    around = torch.cuda.current_stream(device)
    stream.wait_stream(around)
    with torch.cuda.stream(stream):
        work()  # compiles whatever is left
    around.wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        work()

    def replay(holds: Callable[[], None] = work) -> None:
        graph.replay()  # which uses memory that ``holds`` keeps alive

    return replay


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
    """EnvPool (C++), asynchronous: one half steps while the other half gets its actions."""
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
    """NAVIX (JAX): jit of scan of vmap, the agent's own view, random starts where it has them."""
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

    # The rendering cache is the same in all environments, so it stays out of the batch.
    def with_cache(timestep: PyTree, kept: PyTree) -> PyTree:
        return timestep.replace(state=timestep.state.replace(cache=kept))

    def reset(key: PyTree) -> PyTree:
        return with_cache(env.reset(key, cache), None)

    def step(timestep: PyTree, action: PyTree) -> PyTree:
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

    def reset(key: PyTree) -> PyTree:
        return env.reset(params, key)

    def step(timestep: PyTree, action: PyTree) -> PyTree:
        return env.step(params, timestep, action)

    return _scan_burst(reset, step, num_envs)


def _scan_burst(
    reset: Callable[[PyTree], PyTree], step: Callable[[PyTree, PyTree], PyTree], num_envs: int
) -> Burst:
    """A burst of a JAX environment: 2^17 steps in one compiled program."""
    import jax

    length = max(ACTION_SETS, 2**17 // num_envs)
    actions = jax.random.randint(jax.random.PRNGKey(SEED), (length, num_envs), 0, 7)

    def advance(timestep: PyTree, chosen: PyTree) -> PyTree:
        timestep = jax.vmap(step)(timestep, chosen)
        # Sums of what an agent would read, so that the compiler cannot eliminate it.
        return timestep, (timestep.observation.sum(), timestep.reward.sum())

    roll = jax.jit(lambda timestep: jax.lax.scan(advance, timestep, actions), donate_argnums=0)
    timestep = jax.jit(jax.vmap(reset))(jax.random.split(jax.random.PRNGKey(SEED), num_envs))
    # Twice: the first result has other (weak) types than a reset, so the second call compiles too.
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


def start_best(
    simulator: Simulator, level: str, sizes: Sequence[int], device: str, time_burst: Timer
) -> Start:
    """The simulator at the fastest of the batch sizes; None if it lacks the level."""
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
