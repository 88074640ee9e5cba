"""The scale of the steps and their device: on a GPU, and without one."""

from __future__ import annotations

from dataclasses import dataclass

import envs
from metarims.protocols import Simulator

SIMULATOR: Simulator = envs
DOORKEY = "MiniGrid-DoorKey-5x5-v0"


@dataclass(frozen=True)
class Scale:
    """Sizes and durations of the steps.

    Attributes:
        device: where the steps run.
        levels, num_envs, steps: of trajectories.
        agents, batch, iterations: of runs that must be equal; the last agent is also the one that
            learns.
        captures: whether iterations are captured as CUDA graphs, one way or both; most is timed in
            the last way.
        raced: levels whose environments are timed, the first beside peers.
        sizes: numbers of environments that are timed.
        batches: numbers of environments that agents are timed with.
        seconds, rounds: of timing.
        frames, until: the most frames that an agent learns from, and the success rate that ends it.
        seeds: number of runs that learn at once.
        memory, side: numbers copied, and the side of matrices multiplied, to measure the device.
    """

    device: str
    levels: tuple[str, ...]
    num_envs: int
    steps: int
    agents: tuple[str, ...]
    batch: int
    iterations: int
    captures: tuple[bool, ...]
    raced: tuple[str, ...]
    sizes: tuple[int, ...]
    batches: tuple[int, ...]
    seconds: float
    rounds: int
    frames: int
    until: float
    seeds: int
    memory: int
    side: int

    @property
    def dry(self) -> bool:
        """Whether this is a dry run, with a stand-in for the GPU."""
        return self.device == "cpu"


GPU = Scale(
    device="cuda",
    levels=tuple(envs.levels()),
    num_envs=64,
    steps=200,
    agents=("lstm", "rims", "metarims"),
    batch=1024,
    iterations=5,
    captures=(False, True),
    raced=("MiniGrid-DoorKey-8x8-v0", "BabyAI-GoToLocal-v0", "BabyAI-BossLevel-v0"),
    sizes=tuple(2**power for power in (10, 12, 14, 16, 17)),
    batches=(64, 1024, 4096, 16384),
    seconds=1.0,
    rounds=3,
    frames=500_000,
    until=0.98,
    seeds=32,
    memory=2**28,
    side=8192,
)
DRY = Scale(
    device="cpu",
    levels=(DOORKEY, "MiniGrid-DoorKey-6x6-v0"),
    num_envs=3,
    steps=6,
    agents=("lstm",),
    batch=4,
    iterations=1,
    captures=(False,),
    raced=(DOORKEY,),
    sizes=(16,),
    batches=(4,),
    seconds=0.05,
    rounds=1,
    frames=400,
    until=0.0,
    seeds=2,
    memory=2**16,
    side=128,
)
