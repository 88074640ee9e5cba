"""What is decided by lot, the same again for the same step: random choices and knock-outs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..span import scramble

if TYPE_CHECKING:
    from .config import RIMsConfig

CHOICES = ("top", "random", "fixed")


def choice_order(config: RIMsConfig, ticks: Tensor) -> Tensor | None:
    """What the choice goes by instead of attention: for ticks [...], int64 [..., n]."""
    modules = torch.arange(config.modules, device=ticks.device)
    if config.choice == "random":
        return scramble(ticks.unsqueeze(-1) * config.modules + modules)
    return (-modules).expand(*ticks.shape, -1) if config.choice == "fixed" else None


def knock_out_lots(config: RIMsConfig, ticks: Tensor) -> Tensor:
    """The active modules with the highest stand still: for ticks [...], int64 [..., n]."""
    modules = torch.arange(config.modules, device=ticks.device)
    return scramble(~(ticks.unsqueeze(-1) * config.modules + modules))
