"""Pictures of an agent at work, for TensorBoard, drawn while it learns."""

from __future__ import annotations

from itertools import islice

import torch

from ..board import Pictures
from ..config import RunConfig
from ..evaluation import SEED
from ..protocols import Agent, Simulator, Stage
from .analysis import about_to_succeed, watch
from .recording import as_gif, record_episodes

NUM_ENVS, STEPS = 16, 256  # that it is watched for
SHOWN = 80  # of these in the figure of episodes, at most
FRAMES = 80  # of the animation, at most


class Gallery:
    """Watches an agent in environments of its own, by random numbers of its own: the agent learns
    the same, to the bit, as if nobody looked.
    """

    def __init__(
        self, simulator: Simulator, config: RunConfig, agent: Agent, device: torch.device
    ) -> None:
        self._simulator, self._environment = simulator, config.environment
        self._agent, self._device = agent, device
        self._stages: tuple[Stage, Stage] | None = None  # made when they are needed

    def __call__(self) -> Pictures:
        """The agent as it is now: its episodes, values and modules, and an episode that moves."""
        from .figures import draw_behaviour  # slow to import

        cuda = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(cuda):
            if self._stages is None:
                levels = self._environment.env
                watched = self._make(levels, max(NUM_ENVS, len(levels)), autoreset=True)
                self._stages = watched, self._make(levels[:1], 1, autoreset=False)
            watched, shown = self._stages
            rollout = watch(self._agent, watched, STEPS, SEED)
            events = self._simulator.find_events(rollout.obs)
            events["about to succeed"] = about_to_succeed(rollout)
            _, figures = draw_behaviour(rollout, events, self._environment.env, SHOWN)
            frames = list(islice(record_episodes(self._agent, shown, 1, SEED), FRAMES))
        return Pictures(figures, as_gif(frames))

    def _make(self, levels: tuple[str, ...], count: int, autoreset: bool) -> Stage:
        return self._simulator.make(
            list(levels),
            num_envs=count,
            device=str(self._device),
            seed=SEED,
            autoreset=autoreset,
            part=(0, 1),
            observation=self._environment.observation,
            max_steps=self._environment.max_steps,
        )
