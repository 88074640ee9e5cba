"""How what a module reads reaches its dynamics, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .weights import Weights


def weigh(weights: Tensor, values: Tensor) -> Tensor:
    """Sum over slots: weights [n, H, S, B], values [H, S, f, B] to [n, H, f, B]."""
    total = weights[:, :, 0].unsqueeze(2) * values[:, 0]
    for slot in range(1, values.shape[1]):
        total.addcmul_(weights[:, :, slot].unsqueeze(2), values[:, slot])
    return total


def weights_back(d_read: Tensor, values: Tensor) -> Tensor:
    """Gradient of `weigh`'s weights: d_read [n, H, f, B], values [H, S, f, B] to [n, H, S, B]."""
    return (d_read.unsqueeze(2) * values).sum(3)


def values_back(d_read: Tensor, weights: Tensor, out: Tensor) -> None:
    """Gradient of `weigh`'s values: d_read [n, H, f, B], weights [n, H, S, B] to [H, S, f, B]."""
    torch.mul(weights[0].unsqueeze(2), d_read[0].unsqueeze(1), out=out)
    for module in range(1, len(weights)):
        out.addcmul_(weights[module].unsqueeze(2), d_read[module].unsqueeze(1))


class Reading(NamedTuple):
    """How what a module reads reaches its dynamics, and back.

    forward(weights, attention [n, H, S, B], value, h [n, d, B]) gives z [n, z, B] and the factor x
    of its product; backward(dz, dx, attention, value, out) gives the gradient of the attention and
    fills the value's in.
    """

    forward: Callable[[Weights, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def reading_of(value: Tensor) -> Reading:
    """From many slots or heads a module reads a mixture; from one, a multiple of the same vector,
    whose product with the weights is then taken for all steps ahead of the loop.
    """
    return READ_AHEAD if value.dim() == 3 else READ_MIXTURE


def read_ahead_of(reads: Tensor, value: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of what each module reads at full attention, in the order that costs less.

    From weights [n, z, r] and [r, D] and x [T, B, D] to [n·z, F] and [T, F, B].
    """
    frames, rows = x.shape[0] * x.shape[1], reads.shape[0] * reads.shape[1]
    inner, features = value.shape
    if frames * inner * (features + rows) < rows * features * (inner + frames):
        return reads.flatten(0, 1), (x @ value.T).mT
    return reads.flatten(0, 1) @ value, x.mT


def read_all(weights: Weights, x: Tensor) -> Tensor:
    """Their product for all steps, [T, n, z, B]."""
    product = torch.bmm(weights.read.expand(len(x), -1, -1), x)
    return product.view(len(x), len(weights.bias), -1, x.shape[2])


def _read_ahead(
    weights: Weights, attention: Tensor, value: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    z = torch.addcmul(weights.bias, attention.flatten(1, 2), value)
    return z.baddbmm_(weights.weight, h), h


def _read_ahead_back(
    dz: Tensor, dx: Tensor, attention: Tensor, value: Tensor, out: Tensor
) -> Tensor:
    torch.mul(dz, attention.flatten(1, 2), out=out)
    return (dz * value).sum(1)[:, None, None]


def _read_mixture(
    weights: Weights, attention: Tensor, value: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    x = torch.cat([weigh(attention, value).flatten(1, 2), h], 1)
    return torch.baddbmm(weights.bias, weights.weight, x), x


def _read_mixture_back(
    dz: Tensor, dx: Tensor, attention: Tensor, value: Tensor, out: Tensor
) -> Tensor:
    heads, _, features, batch = value.shape
    d_read = dx[:, : heads * features].reshape(len(dx), heads, features, batch)
    values_back(d_read, attention, out)
    return weights_back(d_read, value)


READ_AHEAD = Reading(_read_ahead, _read_ahead_back)
READ_MIXTURE = Reading(_read_mixture, _read_mixture_back)
