"""Which modules are active, and how much that depends on the input."""

from __future__ import annotations

from torch import Tensor

from ..rollout import Rollout
from ..statistics import module_choices, module_figures
from .base import diagnostic


@diagnostic("modules", reads=("module_mask", "module_probabilities"))
def modules(rollout: Rollout) -> dict[str, Tensor]:
    """`module_figures` for each choice among modules."""
    return {
        f"{choice}/{name}": value
        for choice, layer in module_choices(rollout.diagnostics).items()
        for name, value in module_figures(*layer).items()
    }
