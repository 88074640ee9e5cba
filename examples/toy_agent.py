"""A custom agent: convolutions over the view, without memory, and deaf to the mission.

    python run.py train --import examples/toy_agent.py --agent convolution --hidden 128 \
        --env MiniGrid-Empty-5x5-v0 --out RUN
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.presets import JOINT
from metarims import AgentConfig, Output, RunConfig, register
from metarims.protocols import Observation, Spec, State


@register("agent", "convolution")
@dataclass(frozen=True)
class ConvolutionConfig(AgentConfig):
    """Two convolutions.

    Attributes:
        hidden: number of features.
    """

    hidden: int = 64

    def make(self, spec: Spec, seed: int = 0, levels: Sequence[str] = ()) -> Convolution:
        """As `AgentConfig.make`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Convolution(spec, self.hidden).to(spec.device)


class Convolution(nn.Module):
    """Features of each step alone, which both heads read."""

    def __init__(self, spec: Spec, hidden: int) -> None:
        super().__init__()
        self.vocabulary = spec.vocabulary
        width, height, channels = spec.image_shape
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(32 * (width - 4) * (height - 4), hidden), nn.ReLU()),
        )
        self.policy = nn.Linear(hidden, spec.num_actions)
        self.value = nn.Linear(hidden, 1)

    def forward(self, obs: Observation, state: State, starts: Tensor) -> Output:
        """Images [T, B, x, y, 3] to logits [T, B, A] and values [T, B]."""
        steps, batch = starts.shape
        images = obs["image"].flatten(0, 1).permute(0, 3, 1, 2) / 10.0  # the highest symbol is 10
        features = self.features(images).view(steps, batch, -1)
        return Output(self.policy(features), self.value(features).squeeze(-1), state)

    def initial_state(self, batch: int) -> State:
        """Nothing: it has no memory."""
        return ()

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """What a loop may train by itself; groups may be empty."""
        parts = {"encoder": self.features, "policy": self.policy, "value": self.value}
        own = {name: list(part.parameters()) for name, part in parts.items()}
        return {"modules": [], "attention": [], **own}


register("preset", "convolution")(RunConfig(ConvolutionConfig(), loops=JOINT, preset="convolution"))
