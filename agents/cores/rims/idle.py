"""A loss for modules that are hardly ever chosen, and so do not learn what to attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, einsum

if TYPE_CHECKING:
    from .cell import RIMs

WEIGHT = 0.1


def idle_loss(
    cell: RIMs, slots: Tensor, first: Tensor, starts: Tensor, states: Tensor, mask: Tensor
) -> Tensor:
    """`WEIGHT` times the surprisal of each module active in under `least_use` of a span's steps.

    It is -log of the module's share in a softmax of scores over modules, averaged over steps, and
    trains only queries. Raising its own score alone leaves a module behind, as the others' grow.

    Args:
        cell: the modules.
        slots: what they attended to, [T, B, S, D].
        first: h before the span, [B, n, d].
        starts: bool [T, B]; where true h was reset before the step.
        states: h after each step, [T, B, n, d].
        mask: bool [T, B, n], which modules were active.
    """
    idle = mask.to(states.dtype).mean((0, 1)) < cell.config.least_use  # [n]
    h = torch.cat([first.unsqueeze(0), states[:-1]])
    h = torch.where(starts[:, :, None, None], cell.start, h).detach()  # [T, B, n, d]
    query = einsum("nqd,tbnd->tbnq", cell.query, h) + cell.query_bias  # [T, B, n, H·key]
    key = cell.key(slots).mean(2).detach()  # [T, B, H·key]
    scores = einsum("tbnq,tbq->tbn", query, key) / cell.config.key**0.5
    surprise: Tensor = -(idle * scores.log_softmax(2).mean((0, 1))).sum()
    return WEIGHT * surprise
