"""Input attention: by which modules compete for what there is to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..cell import EPSILON


def softmax_back(gradient: Tensor, softmax: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Gradient of what the softmax over `dim` was taken of; all tensors of one shape."""
    weighted = gradient * softmax
    return weighted - softmax * weighted.sum(dim, keepdim=True)


class Attention(NamedTuple):
    """An input attention: from scores to weights and the choice, and back.

    forward(scores [n, H, S, B], k, priority [n, B] or None) gives weights [n, H, S, B], the mask
    bool [n, B] of the k active modules, the probabilities [n, B] (a distribution over modules) and
    what backward needs; backward(gradient of weights, that) gives the gradient of the scores.
    """

    forward: Callable[[Tensor, int, Tensor | None], tuple[Tensor, Tensor, Tensor, Any]]
    backward: Callable[[Tensor, Any], Tensor]


def _choose(order: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The mask of the k largest along the first axis, and the indices in falling order."""
    best = order.topk(min(k + 1, len(order)), 0).indices
    return torch.zeros_like(order, dtype=torch.bool).scatter_(0, best[:k], True), best


def _sparse(scores: Tensor, k: int, priority: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Any]:
    competing = scores.softmax(0)
    probability = competing.mean((1, 2))
    mask, best = _choose(probability if priority is None else priority, k)
    runner_up = best[k:] if priority is None else best[:0]
    excess = (probability - probability.gather(0, runner_up).sum(0)) * mask
    total = excess.sum(0) + EPSILON
    share = excess / total  # [n, B]
    slots = scores.softmax(2)
    weights = share[:, None, None] * slots
    return weights, mask, probability, (competing, mask, runner_up, share, total, slots)


def _sparse_back(gradient: Tensor, saved: Any) -> Tensor:
    competing, mask, runner_up, share, total, slots = saved
    weighted = gradient * slots
    d_share = weighted.sum((1, 2))
    d_excess = (d_share - (d_share * share).sum(0)) / total * mask
    d_runner_up = -d_excess.sum(0, keepdim=True).expand(len(runner_up), -1)
    d_probability = d_excess.scatter_add(0, runner_up, d_runner_up)
    d_competing = d_probability[:, None, None] / (competing.shape[1] * competing.shape[2])
    d_scores = softmax_back(d_competing, competing, 0)
    if slots.shape[2] > 1:  # a single slot gets its module's whole share anyway
        d_scores.addcmul_(share[:, None, None], softmax_back(gradient, slots, 2))
    return d_scores


def _null(scores: Tensor, k: int, priority: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Any]:
    empty = torch.zeros_like(scores[:, :, :1])
    weights = torch.cat([scores, empty], 2).softmax(2)[:, :, :-1]
    probability = weights.sum(2).mean(1)
    mask, _ = _choose(probability if priority is None else priority, k)
    return weights, mask, probability / probability.sum(0), weights


ATTENTIONS = {
    "sparse": Attention(_sparse, _sparse_back),
    "null": Attention(_null, lambda gradient, weights: softmax_back(gradient, weights, 2)),
}
