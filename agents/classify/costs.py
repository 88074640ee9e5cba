"""What a training step costs."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from .config import ClassifyConfig
from .data import MultiTask, Samples
from .training import Trainer

SIDE, CHANNELS = 8, 1  # of the images that costs are measured with


def measure_steps(
    config: ClassifyConfig, sizes: tuple[int, ...], methods: tuple[str, ...], rounds: int = 60
) -> list[dict[str, float | str]]:
    """CPU milliseconds of a training step, for each number of function blocks and tasks.

    There are as many blocks as tasks, as in Rosenbaum et al. 2018, Fig. 13; images are random, 8×8.
    Methods and sizes take turns, step by step, and the least time counts.
    """
    generator = torch.Generator().manual_seed(0)
    trainers, times = {}, {}
    for size in sizes:
        samples = Samples(
            torch.rand(config.batch, CHANNELS, SIDE, SIDE, generator=generator),
            torch.arange(config.batch),
            torch.randint(size, (config.batch,), generator=generator),
            torch.randint(2, (config.batch,), generator=generator),
        )
        data = MultiTask("random", samples, samples, size, 2)
        for method in methods:
            trainers[method, size] = Trainer(method, replace(config, blocks=size), data, 0)
            times[method, size] = float("inf")
    rows = torch.arange(config.batch)
    for _ in range(rounds):
        for key, trainer in trainers.items():
            begun = time.process_time()
            trainer.step(trainer.data.train, rows)
            times[key] = min(times[key], time.process_time() - begun)
    return [
        {"method": method, "blocks": size, "milliseconds": 1e3 * seconds}
        for (method, size), seconds in times.items()
    ]
