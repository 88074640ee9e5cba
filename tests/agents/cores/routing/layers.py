"""Layers of any modules, for tests."""

import torch
from torch import Tensor, nn

from agents.cores.routing.blocks import Layer


class Blocks(Layer, nn.ModuleList):
    """Any modules; `nn.Identity()` is PASS."""

    __len__ = nn.ModuleList.__len__

    def every(self, x: Tensor) -> Tensor:
        """As `Layer` has it."""
        return torch.stack([block(x) for block in self])

    def in_turn(self, x: Tensor, counts: Tensor) -> Tensor:
        """As `Layer` has it."""
        parts = zip(self, x.split(counts.tolist()), strict=True)
        return torch.cat([block(rows) for block, rows in parts if len(rows)])
