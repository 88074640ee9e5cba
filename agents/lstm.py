"""The vanilla core: one LSTM whose state is reset inside a span."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from metarims.protocols import Diagnostics, State


class LSTM(nn.Module):
    """One LSTM over a span of T steps, with a learnt first state; state is argument and result.

    State: ``(h [B, d], c [B, d])``.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
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
        """None."""
        return []

    def initial_state(self, batch: int) -> State:
        """The learnt first state for `batch` environments, without gradient."""
        h = self.start.detach().expand(batch, -1).clone()
        return h, torch.zeros_like(h)

    def forward(self, x: Tensor, state: State, starts: Tensor) -> tuple[Tensor, State, Diagnostics]:
        """Run a span: x [T, B, D], starts bool [T, B] to outputs [T, B, d] and the last state."""
        h, c = state
        outputs, c = _Span.apply(  # type: ignore[no-untyped-call]
            x,
            starts.to(x.dtype),
            h.T,
            c.T,
            self.start.unsqueeze(1),
            self.input.weight,
            self.hidden_weight,
            self.input.bias.unsqueeze(1),
        )
        return outputs.transpose(1, 2), (outputs[-1].T, c.T), {}


class _Span(torch.autograd.Function):
    """T steps of the LSTM, batch last, with their backward pass written out."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        resets: Tensor,
        h: Tensor,
        c: Tensor,
        start: Tensor,
        input_weight: Tensor,
        hidden_weight: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        d = len(h)
        driven = torch.baddbmm(bias, input_weight.expand(len(x), -1, -1), x.mT)  # [T, 4·d, B]
        outputs, steps = [], []
        for reset, gates in zip(resets.unbind(0), driven.unbind(0), strict=True):
            keep = 1 - reset
            h, c_before = torch.addcmul(start * reset, h, keep), c * keep
            gates.addmm_(hidden_weight, h)
            gates[: 3 * d].sigmoid_()
            gates[3 * d :].tanh_()
            i, f, o, g = gates.chunk(4)
            c = torch.addcmul(f * c_before, i, g)
            squashed = c.tanh()
            steps.append((keep, h, c_before, gates, squashed))
            h = o * squashed
            outputs.append(h)
        ctx.steps = steps
        ctx.save_for_backward(x, input_weight, hidden_weight)
        return torch.stack(outputs), c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, dc: Tensor) -> tuple[Tensor | None, ...]:
        x, input_weight, hidden_weight = ctx.saved_tensors
        d = len(d_outputs[0])
        dh = torch.zeros_like(d_outputs[0])
        d_start = torch.zeros_like(dh)
        d_gates = dh.new_empty(len(x), 4 * d, dh.shape[1])
        d_input, d_hidden = torch.zeros_like(input_weight), torch.zeros_like(hidden_weight)
        for t in reversed(range(len(x))):
            keep, h, c_before, gates, squashed = ctx.steps[t]
            i, f, o, g = gates.chunk(4)
            dh = dh + d_outputs[t]
            reached = dh * o
            dc = dc + torch.addcmul(reached, reached * squashed, squashed, value=-1)
            dz = d_gates[t]
            di, df, do, dg = dz.chunk(4)
            torch.mul(dc, g, out=di)
            torch.mul(dc, c_before, out=df)
            torch.mul(dh, squashed, out=do)
            torch.mul(dc, i, out=dg)
            dz[: 3 * d] *= torch.addcmul(gates[: 3 * d], gates[: 3 * d], gates[: 3 * d], value=-1)
            dg *= 1 - g * g
            if ctx.needs_input_grad[5]:
                d_input.addmm_(dz, x[t])
                d_hidden.addmm_(dz, h.T)
            dh = hidden_weight.T @ dz
            d_start.addcmul_(dh, 1 - keep)
            dh, dc = dh * keep, dc * f * keep
        dx = d_gates.mT @ input_weight if ctx.needs_input_grad[0] else None
        d_bias = d_gates.sum((0, 2)).unsqueeze(1)
        return dx, None, dh, dc, d_start.sum(1, keepdim=True), d_input, d_hidden, d_bias
