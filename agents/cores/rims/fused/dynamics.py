"""How a module steps: LSTM and GRU, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class Dynamics(NamedTuple):
    """How a module steps, and back.

    pack(input weight [n, G, r], hidden weight [n, G, d], bias [n, G]) gives those that lead to z,
    [n, z, r], [n, z, d] and [n, z]; forward(z [n, z, B], h, c) gives h, c [n, d, B] and what
    backward needs; backward(dh, dc, that, h, c) gives dz and what reaches h and c without z.
    """

    gates: int
    pack: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    forward: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Any]]
    backward: Callable[[Tensor, Tensor, Any, Tensor, Tensor], tuple[Tensor, Tensor | None, Tensor]]


def _pack_lstm(inputs: Tensor, hidden: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return inputs, hidden, bias


def _lstm(z: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Any]:
    """Gates in the order input, forget, output, candidate; z is overwritten by their values."""
    d = z.shape[1] // 4
    z[:, : 3 * d].sigmoid_()
    z[:, 3 * d :].tanh_()
    i, f, o, g = z.chunk(4, 1)
    c = torch.addcmul(f * c, i, g)
    squashed = c.tanh()
    return o * squashed, c, (z, squashed)


def _lstm_back(
    dh: Tensor, dc: Tensor, saved: Any, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    z, squashed = saved
    i, f, o, g = z.chunk(4, 1)
    reached = dh * o
    dc = dc + tanh_backward(reached, squashed)
    dz = torch.empty_like(z)
    di, df, do, dg = dz.chunk(4, 1)
    torch.mul(dc, g, out=di)
    torch.mul(dc, c, out=df)
    torch.mul(dh, squashed, out=do)
    torch.mul(dc, i, out=dg)
    _through_sigmoid(dz, z, 3)
    tanh_backward.grad_input(dg, g, grad_input=dg)
    return dz, None, dc * f


def _pack_gru(inputs: Tensor, hidden: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Four rows of z from three gates: the candidate's two halves apart, as the reset gates one."""
    n, gates, read = inputs.shape
    d = gates // 3
    nothing_read, nothing_held = inputs.new_zeros(n, d, read), inputs.new_zeros(n, d, d)
    inputs = torch.cat([inputs, nothing_read], 1)
    hidden = torch.cat([hidden[:, : 2 * d], nothing_held, hidden[:, 2 * d :]], 1)
    return inputs, hidden, torch.cat([bias, bias.new_zeros(n, d)], 1)


def _gru(z: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Any]:
    """Gates in the order reset, update, candidate from input, candidate from state."""
    d = z.shape[1] // 4
    z[:, : 2 * d].sigmoid_()
    r, u, read, held = z.chunk(4, 1)
    candidate = torch.addcmul(read, r, held).tanh_()
    return torch.lerp(candidate, h, u), c, (z, candidate)


def _gru_back(
    dh: Tensor, dc: Tensor, saved: Any, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    z, candidate = saved
    r, u, _, held = z.chunk(4, 1)
    dz = torch.empty_like(z)
    dr, du, d_read, d_held = dz.chunk(4, 1)
    torch.mul(dh, 1 - u, out=d_read)
    tanh_backward.grad_input(d_read, candidate, grad_input=d_read)
    torch.mul(d_read, r, out=d_held)
    torch.mul(d_read, held, out=dr)
    torch.mul(dh, h - candidate, out=du)
    _through_sigmoid(dz, z, 2)
    return dz, dh * u, dc


def _through_sigmoid(dz: Tensor, z: Tensor, quarters: int) -> None:
    """Of the gradient of the first quarters of z make that of what the sigmoid was taken of."""
    rows = quarters * z.shape[1] // 4
    sigmoid_backward.grad_input(dz[:, :rows], z[:, :rows], grad_input=dz[:, :rows])


DYNAMICS = {
    "lstm": Dynamics(4, _pack_lstm, _lstm, _lstm_back),
    "gru": Dynamics(3, _pack_gru, _gru, _gru_back),
}
