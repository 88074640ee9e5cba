"""What follows the convolutions: the routed layers, and the baselines they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cores.routing.blocks import Dense
from ..cores.routing.network import Routed, RoutingNetwork
from ..cores.routing.router import RouterConfig


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the fully connected layers, and the router's settings.

    Attributes:
        features: outputs of the convolutions.
        hidden: units of each layer.
        tasks, classes, samples: how many the data has.
        blocks: function blocks at each depth.
        recursive: the first two layers choose among the blocks of both, and PASS.
        router: of the routed head only.
    """

    features: int
    hidden: int
    tasks: int
    classes: int
    samples: int
    blocks: int
    recursive: bool
    router: RouterConfig


class Head(nn.Module):
    """From features to answers."""

    def forward(
        self, x: Tensor, tasks: Tensor, keys: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Routed | None]:
        """The logits [N, classes], and the routing, if there is any.

        Args:
            x: features float32 [N, D].
            tasks, keys: int64 [N]; a key identifies the sample.
            noise: uniform numbers to draw decisions with; None takes the best.
        """
        raise NotImplementedError


class RoutedHead(Head):
    """routing-all-fc: every layer routed (Rosenbaum et al. 2018, §4)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.project: nn.Module = nn.Identity()
        width, hidden = config.features, config.hidden
        if config.recursive:
            if width != hidden:
                self.project, width = nn.Linear(width, hidden), hidden
            first = second = Dense(2 * config.blocks, hidden, hidden, skip=True)
        else:
            first = Dense(config.blocks, width, hidden)
            second = Dense(config.blocks, hidden, hidden)
        layers = [first, second, Dense(config.blocks, hidden, config.classes, relu=False)]
        widest = max(width, hidden)
        self.network = RoutingNetwork(layers, config.router, widest, config.tasks, config.samples)

    def forward(
        self, x: Tensor, tasks: Tensor, keys: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Routed | None]:
        """As `Head.forward`; routed."""
        routed = self.network(self.project(x), tasks, keys, noise)
        return routed.output, routed


class TaskSpecificAll(Head):
    """task-specific-all-fc: each task has its own layers."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(columns(config, config.tasks))

    def forward(
        self, x: Tensor, tasks: Tensor, keys: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, None]:
        """As `Head.forward`; each sample through its task's layers."""
        for layer in self.layers:
            x = layer(x, tasks)
        return x, None


class TaskSpecificOne(Head):
    """task-specific-1-fc: each task has its own last layer."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Linear(config.features, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
        )
        self.last = Dense(config.tasks, config.hidden, config.classes, relu=False)

    def forward(
        self, x: Tensor, tasks: Tensor, keys: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, None]:
        """As `Head.forward`; shared layers, then the task's."""
        return self.last(self.shared(x), tasks), None


class CrossStitch(Head):
    """cross-stitch-all-fc (Misra et al. 2016): a column for each task, mixed after hidden layers.

    A sample goes through every column; its answer is its own task's.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.first, self.second, self.last = columns(config, config.tasks)
        own = 0.9 * torch.eye(config.tasks) + 0.1 / config.tasks
        self.stitches = nn.ParameterList(own.clone() for _ in range(2))

    def forward(
        self, x: Tensor, tasks: Tensor, keys: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, None]:
        """As `Head.forward`; all columns side by side."""
        x = self.first.every(x)  # [tasks, N, hidden]
        x = self.second.each(torch.einsum("ij,jnh->inh", self.stitches[0], x))
        x = torch.einsum("ij,jnh->inh", self.stitches[1], x)
        return self.last(x[tasks, torch.arange(len(tasks), device=x.device)], tasks), None


class SoftMixture(Head):
    """soft-mixture-all-fc: blocks weighted by an approximator of representation and task."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.tasks = config.tasks
        self.layers = nn.ModuleList(columns(config, config.blocks))
        widths = (config.features, config.hidden, config.hidden)
        self.gates = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width + config.tasks, 64), nn.ReLU(), nn.Linear(64, config.blocks)
            )
            for width in widths
        )

    def forward(
        self, x: Tensor, tasks: Tensor, keys: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, None]:
        """As `Head.forward`; every block, weighted by softmax."""
        meta = F.one_hot(tasks, self.tasks).to(x)
        for layer, gate in zip(self.layers, self.gates, strict=True):
            weights = gate(torch.cat([x, meta], 1)).softmax(-1)
            x = torch.einsum("knd,nk->nd", cast(Dense, layer).every(x), weights)
        return x, None


HEADS: dict[str, Callable[[HeadConfig], Head]] = {
    "routing": RoutedHead,
    "cross-stitch": CrossStitch,
    "task-specific-1-fc": TaskSpecificOne,
    "task-specific-all-fc": TaskSpecificAll,
    "soft-mixture": SoftMixture,
}


def columns(config: HeadConfig, count: int) -> tuple[Dense, Dense, Dense]:
    """Three layers of so many blocks each."""
    return (
        Dense(count, config.features, config.hidden),
        Dense(count, config.hidden, config.hidden),
        Dense(count, config.hidden, config.classes, relu=False),
    )


def convolutions(channels: int, side: int, filters: int = 32) -> tuple[nn.Sequential, int]:
    """SimpleConvNet's four 3×3 convolutions, and how many features they give.

    Each is followed by batch normalisation, ReLU and, while the side is at least 4, max pooling.
    """
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
        if side >= 4:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        channels = filters
    return nn.Sequential(*layers, nn.Flatten()), filters * side * side
