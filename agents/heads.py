"""A policy's two heads, for actions and for the value, each with one hidden layer."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .kernels import heads
from .kernels.compiling import has_kernels


class Tanh(nn.Module):
    """The hyperbolic tangent; on a CPU by the sigmoid, in a sixth of `torch.tanh`'s time."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, of any shape."""
        return 2 * torch.sigmoid(2 * x) - 1 if x.device.type == "cpu" else torch.tanh(x)


def make_head(features: int, hidden: int, outputs: int, gain: float) -> nn.Sequential:
    """One hidden layer; a small `gain` of the last layer makes the first policy near uniform."""
    first, last = nn.Linear(features, hidden), nn.Linear(hidden, outputs)
    nn.init.orthogonal_(last.weight, gain)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, Tanh(), last)


def run_heads(policy: nn.Sequential, value: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features [T, B, F] to logits [T, B, A] and values [T, B]."""
    of_policy, of_value = map(_parameters, (policy, value))
    if has_kernels(x):
        logits, values = heads.run(x, of_policy, of_value)
    else:
        logits, values = policy(x), value(x)
    return logits, values.squeeze(-1)


def _parameters(head: nn.Sequential) -> heads.Head:
    first, _, last = cast(tuple[nn.Linear, Tanh, nn.Linear], tuple(head))
    return heads.Head(first.weight, first.bias, last.weight, last.bias)
