"""The vanilla core: one LSTM whose state is reset inside a span."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from metarims.errors import check_positive
from metarims.protocols import Observation, Spec, State
from metarims.registry import register

from .base import CoreConfig, CoreOutput
from .span import reset_rows

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


@register("core", "lstm")
@dataclass(frozen=True)
class LSTMConfig(CoreConfig):
    """The LSTM's size.

    Attributes:
        hidden: d, features of its state.
    """

    hidden: int = 96

    def __post_init__(self) -> None:
        check_positive(hidden=self.hidden)

    def build(self, inputs: int, spec: Spec, levels: Sequence[str]) -> LSTM:
        """As `CoreConfig.build`."""
        return LSTM(inputs, self.hidden)


class LSTM(nn.Module):
    """One LSTM over a span of T steps, with a learnt first state; state is argument and result.

    State: ``(h [B, d], c [B, d])``.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.outputs = hidden
        bound = 1 / math.sqrt(hidden)
        self.start = nn.Parameter(torch.zeros(hidden))
        self.input = nn.Linear(inputs, 4 * hidden)
        self.hidden_weight = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.input.bias[hidden : 2 * hidden] += 1.0  # remember at first (Gers et al. 2000)

    def module_parameters(self) -> list[nn.Parameter]:
        """All of them: an LSTM is one module."""
        return list(self.parameters())

    def attention_parameters(self) -> list[nn.Parameter]:
        """None: an LSTM attends to nothing."""
        return []

    def initial_state(self, batch: int) -> State:
        """The learnt first state for `batch` environments, without gradient."""
        h = self.start.detach().expand(batch, -1).clone()
        return h, torch.zeros_like(h)

    def forward(self, x: Tensor, state: State, starts: Tensor, obs: Observation) -> CoreOutput:
        """Run a span: x [T, B, D], starts bool [T, B] to features [T, B, d]."""
        h, c = state
        outputs, c = _Span.apply(  # type: ignore[no-untyped-call]
            x,
            reset_rows(starts, x.dtype),
            h.T.contiguous(),  # products round by their operands' layout
            c.T.contiguous(),
            self.start.unsqueeze(1),
            self.input.weight,
            self.hidden_weight,
            self.input.bias.unsqueeze(1),
        )
        return CoreOutput(outputs.transpose(1, 2), (outputs[-1].T, c.T))


class _Span(torch.autograd.Function):
    """T steps of the LSTM, batch last, with their backward pass written out."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        resets: list[Tensor | None],
        h: Tensor,
        c: Tensor,
        start: Tensor,
        input_weight: Tensor,
        hidden_weight: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        z = torch.baddbmm(bias, input_weight.expand(len(x), -1, -1), x.mT)  # [T, 4·d, B]
        outputs, steps = [], []
        for reset, (all_gates, sigmoids, i, f, o, g) in zip(resets, _gates(z), strict=True):
            if reset is not None:
                h, c = torch.lerp(h, start, reset), c * (1 - reset)
            all_gates.addmm_(hidden_weight, h)
            sigmoids.sigmoid_()
            g.tanh_()
            c_before, c = c, torch.addcmul(f * c, i, g)
            squashed = c.tanh()
            steps.append((h, c_before, squashed))
            h = o * squashed
            outputs.append(h)
        ctx.resets, ctx.steps, ctx.z = resets, steps, z
        ctx.save_for_backward(x, input_weight, hidden_weight)
        return torch.stack(outputs), c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, dc: Tensor) -> tuple[Tensor | None, ...]:
        x, input_weight, hidden_weight = ctx.saved_tensors
        dh = torch.zeros_like(d_outputs[0])
        d_start = torch.zeros_like(dh)
        d_input, d_hidden = torch.zeros_like(input_weight), torch.zeros_like(hidden_weight)
        d_z = torch.empty_like(ctx.z)
        gates, d_gates = _gates(ctx.z), _gates(d_z)
        for t in reversed(range(len(x))):
            h, c_before, squashed = ctx.steps[t]
            _, sigmoids, i, f, o, g = gates[t]
            dz, d_sigmoids, di, df, do, dg = d_gates[t]
            dh = dh + d_outputs[t]
            dc = dc + tanh_backward(dh * o, squashed)
            torch.mul(dc, g, out=di)
            torch.mul(dc, c_before, out=df)
            torch.mul(dh, squashed, out=do)
            torch.mul(dc, i, out=dg)
            sigmoid_backward.grad_input(d_sigmoids, sigmoids, grad_input=d_sigmoids)
            tanh_backward.grad_input(dg, g, grad_input=dg)
            if ctx.needs_input_grad[5]:
                d_input.addmm_(dz, x[t])
                d_hidden.addmm_(dz, h.T)
            dh, dc = hidden_weight.T @ dz, dc * f
            if (reset := ctx.resets[t]) is not None:
                d_start.addcmul_(dh, reset)
                dh, dc = dh * (1 - reset), dc * (1 - reset)
        dx = d_z.mT @ input_weight if ctx.needs_input_grad[0] else None
        d_bias = d_z.sum((0, 2)).unsqueeze(1)
        return dx, None, dh, dc, d_start.sum(1, keepdim=True), d_input, d_hidden, d_bias


def _gates(z: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of z [T, 4·d, B] for each step: all, those with sigmoids, and input, forget, output
    and candidate apart; made at once, for slicing step by step takes as long as adding."""
    d = z.shape[1] // 4
    parts = (z, z[:, : 3 * d], *z.chunk(4, 1))
    return list(zip(*(part.unbind(0) for part in parts), strict=True))
