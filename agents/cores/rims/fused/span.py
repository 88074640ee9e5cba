"""How the kernels are called: a span of the cell as a function with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, einsum
from torch.autograd.function import once_differentiable

from metarims.protocols import State

from ....frames import Frames
from ....kernels.fusing import contiguous, launch
from ..cell import Spans, run_by_definition
from ..lots import choice_order
from .backward import backward
from .forward import forward
from .memory import GIVEN, Backward, Forward, Sizes, kinds_of

if TYPE_CHECKING:
    from ..cell import RIMs
    from ..config import RIMsConfig

ATTENTIONS = ("sparse", "null")  # what the kernels have
WIDEST = 128  # numbers of a module, and of its message
MOST = 16  # modules


def covers(config: RIMsConfig) -> bool:
    """Whether the kernels have these variants and sizes."""
    return (
        config.attention in ATTENTIONS
        and config.dynamics == "lstm"
        and config.heads == 1
        and config.knock_out == 0
        and config.disabled < 0
        and config.modules <= MOST
        and config.hidden <= WIDEST
        and config.communication_heads * config.communication_key <= WIDEST
    )


def run(cell: RIMs, frames: Frames, state: State, starts: Tensor) -> Spans:
    """As `agents.cores.rims.cell.Run`; several slots by the definition."""
    if frames.different.shape[1] > 1:
        return run_by_definition(cell, frames, state, starts)
    config, (h, c, draws) = cell.config, state
    x = frames.different[:, 0]  # [M, D]
    key = cell.key(x) / config.key**0.5
    asked = einsum("mq,nqd->mnd", key, cell.query)  # [M, n, d]
    offset = key @ cell.query_bias.T  # [M, n]
    gains = einsum("mv,nrv->mnr", cell.value(x), cell.input_weight)  # [M, n, 4·d]
    outputs, last, mask, probabilities = _Span.apply(  # type: ignore[no-untyped-call]
        config,
        starts,
        ranks_of(config, draws, len(starts)),
        *(frames.of_every(each) for each in (asked, offset, gains)),
        h,
        c,
        cell.start,
        cell.hidden_weight,
        cell.bias,
        cell.communication,
        cell.communication_output,
    )
    return outputs, (outputs[-1], last), mask, probabilities


def ranks_of(config: RIMsConfig, draws: Tensor, steps: int) -> Tensor:
    """How many modules come before each in the order of choice, int32 [T, B, n]; empty where the
    choice goes by attention.
    """
    ticks = draws + torch.arange(steps, device=draws.device).unsqueeze(1)  # [T, B]
    order = choice_order(config, ticks)
    if order is None:
        return ticks.new_empty(0, dtype=torch.int32)
    return (order.unsqueeze(2) > order.unsqueeze(3)).sum(3, dtype=torch.int32)


class _Span(torch.autograd.Function):
    """forward: the configuration; starts, ranks and what is made of the input as `Forward` has it;
    h and c [B, n, d], and the parameters. Returns h after each step [T, B, n, d], c after the last
    [B, n, d], masks bool and probabilities [T, B, n].
    """

    @staticmethod
    def forward(
        ctx: Any,
        config: RIMsConfig,
        starts: Tensor,
        ranks: Tensor,
        asked: Tensor,
        offset: Tensor,
        gains: Tensor,
        h: Tensor,
        c: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (steps, batch, n), d, taped = offset.shape, h.shape[2], any(ctx.needs_input_grad)
        heads, features = config.communication_heads, config.communication_key
        s = Sizes(steps, batch, n, config.active, d, heads, features)
        states, cells = gains.new_empty(2, steps + 1, batch, n, d).unbind()
        states[0], cells[0] = h, c
        kept, message = steps if taped else 1, heads * features
        widths = 4 * d, d, 3 * message, message, heads
        tape = (gains.new_empty(kept, batch, n, width) for width in widths)
        scores, weights, probabilities = gains.new_empty(3, steps, batch, n).unbind()
        masks = torch.empty_like(scores, dtype=torch.bool)
        given = contiguous(starts, ranks, asked, offset, gains, *parameters)
        made = states, cells, *tape, scores, weights, probabilities, masks
        x = Forward._make((*given, *made))
        kinds = kinds_of(config)
        launch(forward, batch, x, s, taped=taped, **kinds)
        ctx.sizes, ctx.kinds = s, kinds
        ctx.save_for_backward(*x)
        ctx.mark_non_differentiable(masks, probabilities)
        return states[1:], cells[-1].clone(), masks, probabilities

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor, *_: Tensor) -> tuple[Any, ...]:
        x, s = Forward(*ctx.saved_tensors), ctx.sizes
        d_states, d_cells = map(torch.empty_like, (x.states, x.cells))
        d_states[-1], d_cells[-1] = 0, d_last
        made = x.between, x.messages[0], x.projected, x.gates, x.scores, x.between[0]
        starts, outputs = F.pad(x.starts, (0, 0, 0, 1)), d_outputs.contiguous()
        given = (getattr(x, name) for name in GIVEN)
        gradients = *map(torch.empty_like, made), d_states, d_cells
        y = Backward._make((starts, *given, outputs, *gradients))
        launch(backward, s.batch, y, s, **ctx.kinds)
        return _gradients(x, y, ctx.needs_input_grad[8:])


def _gradients(x: Forward, y: Backward, needed: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """What `_Span.backward` returns, of the parameters those that are needed."""
    begins = x.starts[..., None, None]
    before = torch.where(begins, x.start, x.states[:-1])  # [T, B, n, d]
    start, weight, bias, talk, listen = needed
    parameters = (
        torch.where(begins, y.d_states[:-1], 0.0).sum((0, 1)) if start else None,
        einsum("tbnr,tbnd->nrd", y.d_gates, before) if weight else None,
        y.d_gates.sum((0, 1)) if bias else None,
        einsum("tbnr,tbnd->nrd", y.d_projected, x.between) if talk else None,
        einsum("tbnd,tbnm->ndm", y.d_change, x.messages) if listen else None,
    )
    d_scores = y.d_scores
    d_asked, d_gains = d_scores.unsqueeze(3) * before, x.weights.unsqueeze(3) * y.d_gates
    d_h, d_c = (torch.where(begins[0], 0.0, each[0]) for each in (y.d_states, y.d_cells))
    return None, None, None, d_asked, d_scores, d_gains, d_h, d_c, *parameters
