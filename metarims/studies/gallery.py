"""Pictures of an agent at work for TensorBoard, drawn during training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import torch

from ..board import Pictures
from ..config import RunConfig
from ..evaluation import SEED
from ..protocols import Agent, Simulator, Stage
from .analysis import about_to_succeed, watch
from .recording import as_gif, record_episodes

NUM_ENVS, STEPS = 16, 256  # of the rollout that is watched
SHOWN = 80  # of these steps, at most, in the figure of episodes
FRAMES = 80  # of the animation, at most


@contextmanager
def random_numbers_of_its_own(device: torch.device) -> Iterator[None]:
    """Within it, random draws do not affect training."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


class Gallery:
    """Watches an agent in separate environments, with separate random numbers: training is the
    same, to the bit, as if nobody looked.
    """

    def __init__(self, simulator: Simulator, config: RunConfig, device: torch.device) -> None:
        self._simulator, self._environment, self._device = simulator, config.environment, device
        self._stages: tuple[Stage, Stage] | None = None  # made when they are needed

    def __call__(self, agent: Agent) -> Pictures:
        """The agent as it is now: episodes, values and modules, and an animated episode."""
        from .figures import draw_behaviour  # slow to import

        with random_numbers_of_its_own(self._device):
            if self._stages is None:
                levels = self._environment.env
                watched = self._make(levels, max(NUM_ENVS, len(levels)), autoreset=True)
                self._stages = watched, self._make(levels[:1], 1, autoreset=False)
            watched, shown = self._stages
            rollout = watch(agent, watched, STEPS, SEED)
            events = self._simulator.find_events(rollout.obs)
            events["about to succeed"] = about_to_succeed(rollout)
            _, figures = draw_behaviour(rollout, events, self._environment.env, SHOWN)
            frames = list(islice(record_episodes(agent, shown, 1, SEED), FRAMES))
        return Pictures(figures, as_gif(frames))

    def _make(self, levels: tuple[str, ...], count: int, autoreset: bool) -> Stage:
        shown = replace(self._environment, env=levels, num_envs=count)
        return shown.made(self._simulator.make, str(self._device), SEED, autoreset)
