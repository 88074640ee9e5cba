"""The two heads of a policy, each of one hidden layer: for actions, and for the value."""

from __future__ import annotations

from typing import Any, cast

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


def run_heads(policy: nn.Sequential, value: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features [T, B, F] to logits [T, B, A] and values [T, B]."""
    parameters = *_parameters(policy), *_parameters(value)
    if is_stacked(parameters[0]) or not has_kernels(x.device):
        return policy(x), value(x).squeeze(-1)
    rows = x.flatten(0, 1)
    if torch.is_grad_enabled():
        logits, values = _Heads.apply(rows, *parameters)  # type: ignore[no-untyped-call]
    else:
        logits, values, _ = _run_both(rows, *parameters)
    return logits.unflatten(0, x.shape[:2]), values.view(x.shape[:2])


def _parameters(head: nn.Sequential) -> tuple[Tensor, ...]:
    first, _, last = cast(tuple[nn.Linear, Tanh, nn.Linear], tuple(head))
    return first.weight, first.bias, last.weight, last.bias


def _run_both(
    x: Tensor,
    first: Tensor,
    first_bias: Tensor,
    last: Tensor,
    last_bias: Tensor,
    *of_value: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Features [N, F] to logits [N, A], values [N, 1] and both hidden layers [N, 2·H]."""
    other, other_bias, end, end_bias = of_value
    weight, bias = torch.cat([first, other]), torch.cat([first_bias, other_bias])
    twice = torch.addmm(bias, x, weight.T, beta=2, alpha=2)
    hidden = twice.sigmoid_().mul_(2).sub_(1)  # as `Tanh`
    one, two = hidden.chunk(2, 1)
    return torch.addmm(last_bias, one, last.T), torch.addmm(end_bias, two, end.T), hidden


class _Heads(torch.autograd.Function):
    """`_run_both`; a head that nothing comes back to costs nothing on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        logits, values, hidden = _run_both(x, *parameters)
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
            back = first.T, d_own.T  # [F, N], as cores have their features in memory
            d_x = torch.mm(*back) if d_x is None else d_x.addmm_(*back)
            if any(ctx.needs_input_grad[1 + 4 * head : 5 + 4 * head]):
                own_gradients = d_own.T @ x, d_own.sum(0), d_out.T @ own, d_out.sum(0)
                gradients[4 * head : 4 * head + 4] = own_gradients
        return None if d_x is None else d_x.T, *gradients
