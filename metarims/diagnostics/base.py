"""Registering diagnostics, and applying all of them to a rollout."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from ..errors import UsageError
from ..registry import find, names, register
from ..rollout import Rollout

Diagnostic = Callable[[Rollout], dict[str, Tensor]]

KIND = "diagnostic"
_READS: dict[Diagnostic, tuple[str, ...]] = {}


def diagnostic(name: str, reads: tuple[str, ...] = ()) -> Callable[[Diagnostic], Diagnostic]:
    """Register a function from a rollout to scalars, by the names that TensorBoard shows.

    Args:
        name: the function's.
        reads: the agent's diagnostics that it handles; if one of them is missing it is not called.
    """

    def enter(function: Diagnostic) -> Diagnostic:
        _READS[function] = reads
        return register(KIND, name)(function)

    return enter


def diagnose(rollout: Rollout) -> dict[str, Tensor]:
    """Every diagnostic's figures, and the means of what none of them reads.

    Raises:
        UsageError: the agent outputs a diagnostic that nothing reads and that has no mean.
    """
    functions = [cast(Diagnostic, find(KIND, name)) for name in names(KIND)]
    figures: dict[str, Tensor] = {}
    for function in functions:
        if all(name in rollout.diagnostics for name in _READS[function]):
            figures |= function(rollout)
    read = {name for function in functions for name in _READS[function]}
    for name, tensor in rollout.diagnostics.items():
        if name not in read:
            figures[f"diagnostics/{name}"] = _mean(name, tensor)
    return figures


def _mean(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() and tensor.dtype != torch.bool:
        raise UsageError(
            f"the agent outputs {name!r} of type {tensor.dtype}, which no diagnostic reads: "
            f'register one with @diagnostic("...", reads=("{name}",))'
        )
    return tensor.double().mean()
