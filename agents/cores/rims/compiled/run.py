"""From the cell's parameters and inputs to the kernels, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from metarims.protocols import State

from ....frames import Frames
from ....kernels.compiling import launch
from ....kernels.lanes import WIDTH
from ....kernels.products import whole_columns
from ....kernels.tiles import fill, padding, scratch, total
from ..cell import GATES, RIMs, Spans
from ..lots import choice_order, knock_out_lots
from .backward import backward
from .forward import forward
from .sizes import (
    Backward,
    Forward,
    Learnt,
    Rows,
    Sizes,
    Weights,
    ahead_of,
    back_of,
    learnt_of,
    places_of,
    products,
)

if TYPE_CHECKING:
    from ..config import RIMsConfig

ATTENTIONS, DYNAMICS = ("sparse", "null"), ("lstm", "gru")  # supported by the kernels


def covers(config: RIMsConfig) -> bool:
    """Whether the kernels support these variants."""
    return config.attention in ATTENTIONS and config.dynamics in DYNAMICS


def run(cell: RIMs, frames: Frames, state: State, starts: Tensor) -> Spans:
    """As `agents.cores.rims.cell.Run`."""
    (steps, batch), (h, c, _) = starts.shape, state
    x = frames.different  # [M, S, D]
    sizes = sizes_of(cell.config, steps, batch, x)

    key, value = cell.key.weight, cell.value.weight
    if sizes.ahead:
        value = cell.input_weight.flatten(0, 1) @ value
    made = linear(x.flatten(0, 1), torch.cat([key, value]))  # [M·S, rows of both]
    given: tuple[Tensor, ...] = (
        fill(starts.unsqueeze(2).to(x.dtype)),
        *_order(cell.config, state, steps, x.dtype),
        frames.rows(made.view(len(x), -1)),
        *(fill(each.flatten(1).unsqueeze(0))[0] for each in (h, c)),
        cell.start,
        cell.input_weight,
        cell.hidden_weight,
        cell.bias,
        cell.query,
        cell.query_bias,
        cell.communication,
        cell.communication_output,
    )
    if torch.is_grad_enabled():
        found = _Span.apply(sizes, *given)  # type: ignore[no-untyped-call]
    else:
        found, _ = _go_forward(sizes, *given)
    outputs, last, mask, probability = found
    outputs = outputs.view(steps, -1, *h.shape[1:])[:, :batch]
    last = last[:batch].view(c.shape)
    masks, probabilities = (
        each.view(steps, -1, len(cell.start))[:, :batch] for each in (mask > 0, probability)
    )
    return outputs, (outputs[-1], last), masks, probabilities


def reads_ahead(config: RIMsConfig, x: Tensor) -> bool:
    """Whether to multiply input and value weights first, where that takes fewer products.

    It is possible if a module reads by one weight: with one head and one slot, x [M, 1, D].
    """
    frames, slots, inputs = x.shape
    rows = config.modules * GATES[config.dynamics] * config.hidden
    together = rows * inputs * (config.value + frames)
    apart = (rows + inputs) * config.value * frames
    return config.heads == slots == 1 and together < apart


def sizes_of(config: RIMsConfig, steps: int, batch: int, x: Tensor) -> Sizes:
    """The kernels' sizes; flags of the backward pass as for a span without one."""
    ahead = reads_ahead(config, x)
    tiles = (batch + padding(batch)) // WIDTH
    return Sizes(
        steps=steps,
        tiles=tiles,
        modules=config.modules,
        active=config.active,
        hidden=config.hidden,
        slots=x.shape[1],
        heads=config.heads,
        key=config.key,
        value=0 if ahead else config.value,
        talkers=config.communication_heads,
        features=config.communication_key,
        gates=GATES[config.dynamics],
        sparse=int(config.attention == "sparse"),
        lstm=int(config.dynamics == "lstm"),
        knock_out=config.knock_out,
        disabled=config.disabled,
        ordered=int(config.choice != "top"),
        ahead=int(ahead),
        taped=0,
        modules_learn=0,
        attention_learns=0,
    )


def _order(config: RIMsConfig, state: State, steps: int, kind: torch.dtype) -> tuple[Tensor, ...]:
    """Ranks in the order of choice, and of lots: [T, B', n] each, or empty if not needed."""
    empty = torch.empty(0, dtype=kind)
    if config.choice == "top" and not config.knock_out:
        return empty, empty
    ticks = state[2] + torch.arange(steps).unsqueeze(1)  # [T, B]
    order = choice_order(config, ticks)
    lots = knock_out_lots(config, ticks) if config.knock_out else None
    return tuple(empty if each is None else _ranks(each, kind) for each in (order, lots))


def _ranks(order: Tensor, kind: torch.dtype) -> Tensor:
    """Ranks among the modules of [T, B, n], the largest first: [T, B', n]."""
    ranks = order.argsort(dim=2, descending=True, stable=True).argsort(2)
    return fill(ranks.to(kind))


def _go_forward(
    s: Sizes,
    starts: Tensor,
    ranks: Tensor,
    lots: Tensor,
    offers: Tensor,
    h: Tensor,
    c: Tensor,
    *parameters: Tensor,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """What `_Span` returns, and the tape."""
    places, ahead, frames, d = places_of(s), ahead_of(s), len(offers), s.hidden
    tape = scratch(h, s.tiles, s.steps if s.taped else 1, places.end, WIDTH)
    rows = Rows(starts, tape, scratch(h, s.tiles, ahead.end, WIDTH), h.new_empty(0))
    outputs, last = h.new_empty(frames, s.modules * d), torch.empty_like(c)
    masks, probabilities = h.new_empty(2, frames, s.modules).unbind()
    results = outputs, last, masks, probabilities
    memory = Forward(ranks, lots, offers, h, c, *results)
    told = tuple(s), tuple(places), tuple(ahead)
    launch(forward, s.tiles, told, rows, (*parameters, *memory))
    return results, tape


class _Span(torch.autograd.Function):
    """A span; see `Forward` and `Weights`.

    forward: starts [T, B', 1], ranks and lots (or empty), offers, h and c, and the parameters.
    Returns h after each step [T·B', n·d], c after the last [B', n·d], masks and probabilities
    [T·B', n].
    """

    @staticmethod
    def forward(ctx: Any, sizes: Sizes, *given: Tensor) -> tuple[Tensor, ...]:
        needed = Weights(*ctx.needs_input_grad[7:])
        s = sizes._replace(
            taped=int(any(ctx.needs_input_grad)),
            modules_learn=int(needed.input or needed.hidden or needed.bias),
            attention_learns=int(any(needed[4:])),
        )
        found, ctx.tape = _go_forward(s, *given)
        starts, _, _, offers, _, _, *parameters = given
        ctx.sizes, ctx.needed = s, needed
        ctx.save_for_backward(starts, offers, *parameters)
        ctx.mark_non_differentiable(*found[2:])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor, *_: Tensor) -> tuple[Any, ...]:
        d_outputs, d_last = d_outputs.contiguous(), d_last.contiguous()
        s: Sizes = ctx.sizes
        starts, offers, *parameters = ctx.saved_tensors
        back, state = back_of(s), s.modules * s.hidden
        d_offers, d_c = torch.empty_like(offers), torch.empty_like(d_last)
        d_h = d_outputs.new_empty(s.tiles * WIDTH, state)
        learnt = learnt_of(s)
        memory = Backward(offers, d_outputs, d_last, d_offers, d_h, d_c)
        work, sums = (scratch(d_h, s.tiles, each.end, WIDTH) for each in (back, learnt))
        told = tuple(s), tuple(places_of(s)), tuple(back), tuple(learnt)
        rows = Rows(starts, ctx.tape, work, sums)
        launch(backward, s.tiles, told, rows, (*parameters, *memory))
        start = work[:, :state].sum((0, 2)).view(s.modules, s.hidden)
        gradients = _gradients(s, learnt, total(sums), start)
        wanted = (g if need else None for g, need in zip(gradients, ctx.needed, strict=True))
        return None, None, None, None, d_offers, d_h, d_c, *wanted


def _gradients(s: Sizes, learnt: Learnt, sums: Tensor, start: Tensor) -> Weights:
    """Those of parameters from the sums [places, 16]; None in a group that does not learn."""

    def weight(place: int, height: int, width: int) -> Tensor:
        found = sums[place : place + products(s, height, width)]
        return found.view(s.modules, -1, whole_columns(width))[:, :height, :width]

    def bias(place: int, height: int) -> Tensor:
        return sums[place : place + s.modules * height].sum(1).view(s.modules, height)

    d, key, talk = s.hidden, s.heads * s.key, s.talkers * s.features
    gradients = Weights(start, *[None] * 7)
    if s.modules_learn:
        of_both = weight(learnt.gates, 4 * d, d + s.heads * s.value)
        of_input = None if s.ahead else of_both[:, : s.gates * d, d:]  # else by autograd
        of_hidden = of_both[:, :, :d]
        if not s.lstm:
            of_hidden = torch.cat([of_hidden[:, : 2 * d], of_hidden[:, 3 * d :]], 1)
        of_bias = bias(learnt.bias, 4 * d)[:, : s.gates * d]
        gradients = gradients._replace(input=of_input, hidden=of_hidden, bias=of_bias)
    if s.attention_learns:
        gradients = gradients._replace(
            query=weight(learnt.query, key, d),
            query_bias=bias(learnt.query_bias, key),
            talk=weight(learnt.talk, 3 * talk, d),
            listen=weight(learnt.listen, d, talk),
        )
    return gradients
