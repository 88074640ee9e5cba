"""From the cell's parameters and inputs to the span's, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metarims.protocols import State

from ...span import reset_rows
from ..cell import RIMs, Spans
from ..lots import choice_order, knock_out_lots
from .attention import ATTENTIONS
from .dynamics import DYNAMICS
from .reading import read_ahead_of
from .span import Span
from .weights import Weights

if TYPE_CHECKING:
    from ..config import RIMsConfig


def covers(config: RIMsConfig) -> bool:
    """Whether the fused form has these variants."""
    return config.attention in ATTENTIONS and config.dynamics in DYNAMICS


def run(cell: RIMs, slots: Tensor, state: State, starts: Tensor) -> Spans:
    """As `agents.cores.rims.cell.Run`."""
    config = cell.config
    h, c, draws = state
    keys = _heads_first(cell.key(slots), config.heads) * config.key**-0.5
    ticks = draws + torch.arange(len(slots), device=draws.device).unsqueeze(1)  # [T, B]
    order = choice_order(config, ticks)
    lots = knock_out_lots(config, ticks).mT if config.knock_out else None
    weights, values = _pack(cell, slots)
    outputs, last, mask, probabilities = Span.apply(  # type: ignore[no-untyped-call]
        config,
        None if order is None else order.mT,
        lots,
        reset_rows(starts, slots.dtype),
        keys,
        values,
        h.permute(1, 2, 0).contiguous(),
        c.permute(1, 2, 0).contiguous(),
        *weights,
    )  # outputs [T, n, d, B]
    states = outputs[-1].permute(2, 0, 1), last.permute(2, 0, 1)
    return outputs.permute(0, 3, 1, 2), states, mask.mT, probabilities.mT


def _pack(cell: RIMs, slots: Tensor) -> tuple[Weights, Tensor]:
    """What the time loop multiplies with, and what it reads."""
    config = cell.config
    reads, weight, bias = DYNAMICS[config.dynamics].pack(
        cell.input_weight, cell.hidden_weight, cell.bias
    )
    if slots.shape[2] * config.heads == 1:
        read, values = read_ahead_of(reads, cell.value.weight, slots.squeeze(2))
    else:
        read, values = reads.new_empty(0), _heads_first(cell.value(slots), config.heads)
        weight = torch.cat([reads, weight], 2)
    packed = Weights(
        read,
        cell.start.unsqueeze(2),
        weight,
        bias.unsqueeze(2),
        cell.query,
        cell.query_bias.unsqueeze(2),
        _scaled_communication(cell),
        cell.communication_output,
    )
    return packed, values


def _scaled_communication(cell: RIMs) -> Tensor:
    """With the queries' scale, e^-1/2, taken in ahead."""
    queries, others = cell.communication.tensor_split([cell.communication.shape[1] // 3], 1)
    return torch.cat([queries * cell.config.communication_key**-0.5, others], 1)


def _heads_first(x: Tensor, heads: int) -> Tensor:
    """[T, B, S, H·f] to [T, H, S, f, B]."""
    return x.view(*x.shape[:3], heads, -1).permute(0, 3, 2, 4, 1).contiguous()
