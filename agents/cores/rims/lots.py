"""Random choices and knock-outs, reproducible for each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..span import scramble

if TYPE_CHECKING:
    from .config import RIMsConfig

CHOICES = ("top", "random", "fixed")


def choice_order(config: RIMsConfig, ticks: Tensor) -> Tensor | None:
    """What the choice goes by if not by attention, highest first: ticks [...] to int64 [..., n]."""
    modules = torch.arange(config.modules, device=ticks.device)
    if config.choice == "random":
        return scramble(ticks.unsqueeze(-1) * config.modules + modules)
    return (-modules).expand(*ticks.shape, -1) if config.choice == "fixed" else None


def knock_out_lots(config: RIMsConfig, ticks: Tensor) -> Tensor:
    """Lots of which the highest knock active modules out: ticks [...] to int64 [..., n]."""
    modules = torch.arange(config.modules, device=ticks.device)
    return scramble(~(ticks.unsqueeze(-1) * config.modules + modules))
