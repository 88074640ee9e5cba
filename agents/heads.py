"""The two heads of a policy, each of one hidden layer: for actions, and for the value."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .kernels.compiling import has_kernels, is_stacked


class Tanh(nn.Module):
    """The hyperbolic tangent by the logistic function, a sixth of torch's time on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return 2 * torch.sigmoid(2 * x) - 1


def make_head(features: int, hidden: int, outputs: int, gain: float) -> nn.Sequential:
    """One hidden layer; a small last layer makes the first policy nearly uniform."""
    first, last = nn.Linear(features, hidden), nn.Linear(hidden, outputs)
    nn.init.orthogonal_(last.weight, gain)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, Tanh(), last)


def run_heads(
    policy: nn.Sequential, value: nn.Sequential, x: Tensor, joined: Joined | None = None
) -> tuple[Tensor, Tensor]:
    """Features [T, B, F] to logits [T, B, A] and values [T, B]; of heads that `join_heads` joined,
    without gradients.
    """
    if not has_kernels(x.device):
        return policy(x), value(x).squeeze(-1)
    if joined is not None:
        logits, values, _ = _run_joined(x.flatten(0, 1), joined)
        return logits.unflatten(0, x.shape[:2]), values.view(x.shape[:2])
    parameters = *_parameters(policy), *_parameters(value)
    if is_stacked(parameters[0]):
        return policy(x), value(x).squeeze(-1)
    logits, values = _Heads.apply(x.flatten(0, 1), *parameters)  # type: ignore[no-untyped-call]
    return logits.unflatten(0, x.shape[:2]), values.view(x.shape[:2])


class Joined(NamedTuple):
    """Both heads' hidden layers as one, weights transposed; and what comes after each."""

    weight: Tensor
    bias: Tensor
    last: Tensor
    last_bias: Tensor
    of_value: Tensor
    of_value_bias: Tensor


def join_heads(policy: nn.Sequential, value: nn.Sequential) -> Joined:
    """What `run_heads` takes of two heads while their parameters stay as they are."""
    return _join(*_parameters(policy), *_parameters(value))


def _parameters(head: nn.Sequential) -> tuple[Tensor, ...]:
    first, _, last = cast(tuple[nn.Linear, Tanh, nn.Linear], tuple(head))
    return first.weight, first.bias, last.weight, last.bias


def _join(
    first: Tensor, first_bias: Tensor, last: Tensor, last_bias: Tensor, *of_value: Tensor
) -> Joined:
    other, other_bias, end, end_bias = of_value
    weight, bias = torch.cat([first, other]), torch.cat([first_bias, other_bias])
    return Joined(weight.T, bias, last.T, last_bias, end.T, end_bias)


def _run_joined(x: Tensor, heads: Joined) -> tuple[Tensor, Tensor, Tensor]:
    """Features [N, F] to logits [N, A], values [N, 1] and both hidden layers [N, 2·H]."""
    twice = torch.addmm(heads.bias, x, heads.weight, beta=2, alpha=2)
    hidden = twice.sigmoid_().mul_(2).sub_(1)  # as `Tanh`
    one, two = hidden.chunk(2, 1)
    logits = torch.addmm(heads.last_bias, one, heads.last)
    return logits, torch.addmm(heads.of_value_bias, two, heads.of_value), hidden


class _Heads(torch.autograd.Function):
    """`_run_joined`; a head that nothing comes back to costs nothing on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        logits, values, hidden = _run_joined(x, _join(*parameters))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, hidden, *parameters)
        return logits, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *arrived: Tensor | None) -> tuple[Tensor | None, ...]:
        x, hidden, *parameters = ctx.saved_tensors
        d_x: Tensor | None = None
        gradients: list[Tensor | None] = [None] * len(parameters)
        for head, (d_out, own) in enumerate(zip(arrived, hidden.chunk(2, 1), strict=True)):
            if d_out is None:
                continue
            first, _, last, _ = parameters[4 * head : 4 * head + 4]
            d_own = torch.ops.aten.tanh_backward(d_out @ last, own)  # [N, H]
            d_x = d_own @ first if d_x is None else d_x.addmm_(d_own, first)
            if any(ctx.needs_input_grad[1 + 4 * head : 5 + 4 * head]):
                own_gradients = d_own.T @ x, d_own.sum(0), d_out.T @ own, d_out.sum(0)
                gradients[4 * head : 4 * head + 4] = own_gradients
        return d_x, *gradients
