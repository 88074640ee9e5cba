"""Calling the kernels: a span of the cell as a differentiable function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, einsum
from torch.autograd.function import once_differentiable

from metarims.protocols import State

from ....frames import Frames
from ....kernels.fusing import (
    Span,
    apart,
    arrived,
    contiguous,
    first_state,
    launch,
    with_end,
)
from ..cell import Spans, run_by_definition
from ..lots import choice_order
from .backward import backward
from .forward import forward
from .memory import GIVEN, Backward, Forward, Sizes, kinds_of

if TYPE_CHECKING:
    from ..cell import RIMs
    from ..config import RIMsConfig

ATTENTIONS = ("sparse", "null")  # supported by the kernels
WIDEST = 128  # units of a module, and features of its message
MOST = 16  # modules


def covers(config: RIMsConfig) -> bool:
    """Whether the kernels support these variants and sizes."""
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
    given = (
        with_end(starts),
        ranks_of(config, draws, len(starts)),
        *(frames.of_every(each) for each in (asked, offset, gains)),
    )
    parameters = (
        cell.start,
        cell.hidden_weight,
        cell.bias,
        cell.communication,
        cell.communication_output,
    )
    last, outputs, mask, probabilities, *_ = _Span.apply(  # type: ignore[no-untyped-call]
        (config, torch.is_grad_enabled()), 1, h, c, *given, *(x.unsqueeze(0) for x in parameters)
    )
    return outputs, (outputs[-1], last), mask, probabilities


def ranks_of(config: RIMsConfig, draws: Tensor, steps: int) -> Tensor:
    """Each module's rank in the order of choice, int32 [T, B, n]; [T, 0] if the choice goes by
    attention.
    """
    ticks = draws + torch.arange(steps, device=draws.device).unsqueeze(1)  # [T, B]
    order = choice_order(config, ticks)
    if order is None:
        return ticks.new_empty(steps, 0, dtype=torch.int32)
    return (order.unsqueeze(2) > order.unsqueeze(3)).sum(3, dtype=torch.int32)


class _Span(Span):
    """`how` is the configuration, and whether a backward pass may follow. h and c are [B, n, d];
    what is given and made is as in `Forward`.
    """

    given_along = 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0
    made_along = 0, *[1] * 12

    @staticmethod
    def forward(
        how: tuple[RIMsConfig, bool], runs: int, h: Tensor, c: Tensor, *given: Tensor
    ) -> tuple[Tensor, ...]:
        config, taped = how
        starts, _, _, offset, _, start, *_ = given = contiguous(*given)
        s = sizes_of(config, offset)

        def room(steps: int, *width: int) -> Tensor:
            return h.new_empty(steps, s.batch, s.modules, *width)

        outputs, probabilities = room(s.steps, s.hidden), room(s.steps)
        masks = torch.empty_like(probabilities, dtype=torch.bool)
        before, cells = room(s.steps + 1, s.hidden), room(s.steps + 1, s.hidden)
        before[0], cells[0] = first_state(starts, start, h), c
        message = s.talkers * s.features
        widths = 4 * s.hidden, s.hidden, 3 * message, message, s.talkers
        tape = (room(s.steps if taped else 1, width) for width in widths)
        kept = before, cells, room(s.steps), room(s.steps), *tape
        x = Forward._make((*given, outputs, masks, probabilities, *kept))
        launch(forward, s.batch, runs, x, s, taped=taped, **kinds_of(config))
        return x.cells[-1].clone(), *x[len(given) :]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_last: Tensor | None, d_outputs: Tensor | None, *_: None
    ) -> tuple[Any, ...]:
        x, (config, _) = Forward(*ctx.saved_tensors), ctx.how
        d_states, d_cells = map(torch.empty_like, (x.before, x.cells))
        d_states[-1], d_cells[-1] = 0, arrived(d_last, x.cells[-1])
        made = x.between, x.messages[0], x.projected, x.gates, x.scores, x.between[0]
        kept = (getattr(x, name) for name in GIVEN)
        given = contiguous(*kept, arrived(d_outputs, x.outputs))
        y = Backward._make((*given, *map(torch.empty_like, made), d_states, d_cells))
        s = sizes_of(config, x.offset)
        launch(backward, s.batch, ctx.runs, y, s, **kinds_of(config))
        begins = x.starts[0, :, None, None]
        d_h, d_c = (torch.where(begins, 0.0, each[0]) for each in (d_states, d_cells))
        d_asked = y.d_scores.unsqueeze(3) * x.before[:-1]
        d_gains = x.weights.unsqueeze(3) * y.d_gates
        of_parameters = _gradients(x, y, ctx.runs, ctx.needs_input_grad[9:])
        return None, None, d_h, d_c, None, None, d_asked, y.d_scores, d_gains, *of_parameters


def sizes_of(config: RIMsConfig, offset: Tensor) -> Sizes:
    """Of a span, from what is added to scores, [T, B, n]."""
    talk = config.communication_heads, config.communication_key
    return Sizes._make((*offset.shape, config.active, config.hidden, *talk))


def _gradients(
    x: Forward, y: Backward, runs: int, needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Of the parameters; None where not needed."""
    given = x.starts[:-1], x.before[:-1], x.between, x.messages
    begins, before, between, messages = apart(runs, *given)  # [T, runs, B, ...]
    found = y.d_states[:-1], y.d_gates, y.d_projected, y.d_change
    d_before, d_gates, d_projected, d_change = apart(runs, *found)
    start, weight, bias, talk, listen = needed
    return (
        torch.where(begins[..., None, None], d_before, 0.0).sum((0, 2)) if start else None,
        _products("tkbnr,tkbnd->tknrd", d_gates, before) if weight else None,
        d_gates.sum((0, 2)) if bias else None,
        _products("tkbnr,tkbnd->tknrd", d_projected, between) if talk else None,
        _products("tkbnd,tkbnm->tkndm", d_change, messages) if listen else None,
    )


def _products(subscripts: str, one: Tensor, other: Tensor) -> Tensor:
    """The sum over steps of products [T, ...]: a single product over all frames of a few small
    matrices would occupy a few multiprocessors only.
    """
    found: Tensor = einsum(subscripts, one, other)
    return found.sum(0)
