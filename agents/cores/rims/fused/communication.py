"""Attention between modules, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from .attention import softmax_back


def communicate(qkv: Tensor) -> tuple[Tensor, Tensor]:
    """Attention between modules: queries, keys and values [n, 3, Hc, e, B] to the weights with
    which each attends to each [n, n, Hc, B] and what it reads [n, Hc·e, B].
    """
    queries, keys, values = qkv.unbind(1)
    attended = _pair(queries, keys).softmax(1)  # [n, n, Hc, B]
    values_read = attended[:, 0].unsqueeze(2) * values[0]
    for module in range(1, len(qkv)):
        values_read.addcmul_(attended[:, module].unsqueeze(2), values[module])
    return attended, values_read.flatten(1, 2)


def communicate_back(d_values_read: Tensor, qkv: Tensor, attended: Tensor) -> Tensor:
    """Gradient of queries, keys and values [n, 3·Hc·e, B], from that of what was read."""
    queries, keys, values = qkv.unbind(1)
    d_values_read = d_values_read.view_as(queries)
    d_scores = softmax_back(_pair(d_values_read, values), attended, 1)
    d_qkv = torch.empty_like(qkv)
    d_queries, d_keys, d_values = d_qkv.unbind(1)
    torch.mul(d_scores[:, 0].unsqueeze(2), keys[0], out=d_queries)
    torch.mul(d_scores[0].unsqueeze(2), queries[0], out=d_keys)
    torch.mul(attended[0].unsqueeze(2), d_values_read[0], out=d_values)
    for module in range(1, len(qkv)):
        d_queries.addcmul_(d_scores[:, module].unsqueeze(2), keys[module])
        d_keys.addcmul_(d_scores[module].unsqueeze(2), queries[module])
        d_values.addcmul_(attended[module].unsqueeze(2), d_values_read[module])
    return d_qkv.flatten(1, 3)


def _pair(left: Tensor, right: Tensor) -> Tensor:
    """Each module's product with each other's, [n, Hc, e, B] twice to [n, n, Hc, B].

    Feature by feature: their products all at once would not fit in a cache.
    """
    lefts, rights = left.unsqueeze(1).unbind(3), right.unbind(2)
    total = lefts[0] * rights[0]
    for one, other in zip(lefts[1:], rights[1:], strict=True):
        total.addcmul_(one, other)
    return total
