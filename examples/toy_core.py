"""A custom core: a leaky average of the features, with a learnt rate for each.

    python run.py train --import examples/toy_core.py --core leaky --core.hidden 64 \
        --env MiniGrid-DoorKey-5x5-v0 --out RUN
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.cores import CoreConfig, CoreOutput
from metarims import register
from metarims.protocols import Observation, Spec, State


@register("core", "leaky")
@dataclass(frozen=True)
class LeakyConfig(CoreConfig):
    """A leaky average.

    Attributes:
        hidden: d, number of features to remember.
    """

    hidden: int = 96

    def build(self, inputs: int, spec: Spec, levels: Sequence[str]) -> LeakyCore:
        """As `CoreConfig.build`."""
        return LeakyCore(inputs, self.hidden)


class LeakyCore(nn.Module):
    """h ← r h + (1 − r) W x."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.outputs = hidden
        self.project = nn.Linear(inputs, hidden)
        self.rate = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor, state: State, starts: Tensor, obs: Observation) -> CoreOutput:
        """Features [T, B, D] to averages [T, B, d]."""
        (h,), rate, seen = state, self.rate.sigmoid(), []
        for new, start in zip(self.project(x).unbind(), starts.unbind(), strict=True):
            h = torch.lerp(new, h.masked_fill(start.unsqueeze(1), 0.0), rate)
            seen.append(h)
        features = torch.stack(seen)
        return CoreOutput(features, (h,), {"leak": rate.expand_as(features)})

    def initial_state(self, batch: int) -> State:
        """Zeros."""
        return (self.rate.new_zeros(batch, self.outputs),)

    def module_parameters(self) -> list[nn.Parameter]:
        """All of them."""
        return list(self.parameters())

    def attention_parameters(self) -> list[nn.Parameter]:
        """None: it has no attention."""
        return []
