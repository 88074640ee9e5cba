"""From the cell's parameters and inputs to the kernels, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarims.protocols import State

from ....frames import Frames
from ....kernels.compiling import launch
from ....kernels.lanes import WIDTH
from ....kernels.tiles import features_first, flags_of, frames_first, padding, scratch, state_of
from ..cell import GATES, RIMs, Spans
from ..lots import choice_order, knock_out_lots
from .backward import backward
from .forward import forward
from .sizes import Backward, Forward, Kept, Returned, Sizes, Weights, ahead_of, back_of, places_of

if TYPE_CHECKING:
    from ..config import RIMsConfig

ATTENTIONS, DYNAMICS = ("sparse", "null"), ("lstm", "gru")  # what the kernels have


def covers(config: RIMsConfig) -> bool:
    """Whether the kernels have these variants."""
    return config.attention in ATTENTIONS and config.dynamics in DYNAMICS


def run(cell: RIMs, frames: Frames, state: State, starts: Tensor) -> Spans:
    """As `agents.cores.rims.cell.Run`."""
    (steps, batch), (h, c, _) = starts.shape, state
    x = frames.different.permute(1, 2, 0)  # [S, D, M]
    sizes = sizes_of(cell.config, steps, batch, x)

    key, value = cell.key.weight, cell.value.weight
    if sizes.ahead:
        value = cell.input_weight.flatten(0, 1) @ value
    weight = torch.cat([key, value])
    rows = torch.bmm(weight.expand(len(x), -1, -1), x)  # [S, rows of both, M]
    each = frames.columns(rows.flatten(0, 1)).view(*rows.shape[:2], -1)  # [S, rows of both, T·B]
    keys, values = each.split([len(key), len(value)], 1)
    given = (
        sizes,
        flags_of(starts, x.dtype),
        *_order(cell.config, state, steps, x.dtype),
        keys.contiguous(),
        values.contiguous(),
        state_of(h),
        state_of(c),
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
        found = _Span.apply(*given)  # type: ignore[no-untyped-call]
    else:
        found, _, _ = _go_forward(*given)
    outputs, last, mask, probability = found
    outputs = frames_first(outputs, steps, batch).unflatten(2, (cell.config.modules, -1))
    last = frames_first(last, 1, batch).view(c.shape)
    masks, probabilities = (frames_first(each, steps, batch) for each in (mask > 0, probability))
    return outputs, (outputs[-1], last), masks, probabilities


def reads_ahead(config: RIMsConfig, x: Tensor) -> bool:
    """Whether input and value weights are multiplied first: where that takes fewer products.

    It can be done where a module reads by one weight: with one head, of one slot [1, D, M].
    """
    slots, inputs, frames = x.shape
    rows = config.modules * GATES[config.dynamics] * config.hidden
    together = rows * inputs * (config.value + frames)
    apart = (rows + inputs) * config.value * frames
    return config.heads == slots == 1 and together < apart


def sizes_of(config: RIMsConfig, steps: int, batch: int, x: Tensor) -> Sizes:
    """What the kernels are told; the flags of the way back as for a span without one."""
    ahead = reads_ahead(config, x)
    tiles = (batch + padding(batch)) // WIDTH
    return Sizes(
        steps=steps,
        tiles=tiles,
        frames=steps * tiles,
        modules=config.modules,
        active=config.active,
        hidden=config.hidden,
        slots=len(x),
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
    """Ranks in the order of choice, and in that of lots: [n, T·B], or empty where not wanted."""
    empty = torch.empty(0, dtype=kind)
    if config.choice == "top" and not config.knock_out:
        return empty, empty
    ticks = state[2] + torch.arange(steps).unsqueeze(1)  # [T, B]
    order = choice_order(config, ticks)
    lots = knock_out_lots(config, ticks) if config.knock_out else None
    return tuple(empty if each is None else _ranks(each, kind) for each in (order, lots))


def _ranks(order: Tensor, kind: torch.dtype) -> Tensor:
    """How many of [T, B, n] come before each, the largest first: [n, T·B]."""
    ranks = order.argsort(dim=2, descending=True, stable=True).argsort(2)
    return features_first(ranks.to(kind), ranks.shape[1]).contiguous()


def _go_forward(
    s: Sizes,
    starts: Tensor,
    ranks: Tensor,
    lots: Tensor,
    keys: Tensor,
    values: Tensor,
    h: Tensor,
    c: Tensor,
    *parameters: Tensor,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor, Kept]:
    """What `_Span` returns; the tape, and what is kept beside it."""
    places, ahead, frames = places_of(s), ahead_of(s), keys.shape[-1]
    state, reads = s.modules * s.hidden, s.heads * s.value
    widths = (s.modules * reads + state, state, s.modules * s.talkers * s.features)
    nothing = keys.new_empty(0, frames)
    kept = Kept(*(scratch(keys, width, frames) if s.taped else nothing for width in widths))
    tape = scratch(keys, s.tiles, s.steps if s.taped else 1, places.end, WIDTH)
    work = scratch(keys, s.tiles, ahead.end, WIDTH)
    outputs, last = keys.new_empty(state, frames), torch.empty_like(c)
    masks, probabilities = keys.new_empty(2, s.modules, frames).unbind()
    given = (starts, ranks, lots, keys, values, h, c, *kept, tape, work)
    rows = Forward(*given, outputs, last, masks, probabilities)
    launch(forward, s.tiles, (tuple(s), tuple(places), tuple(ahead)), rows, parameters)
    return (outputs, last, masks, probabilities), tape, kept


class _Span(torch.autograd.Function):
    """A span: environments last, in tiles of sixteen, as the kernels have it.

    forward: starts [1, T·B], ranks and lots [n, T·B] or empty, keys [S, H·key, T·B], values
    [S, H·value, T·B], or what gates get of them [1, n·gates·d, T·B], h and c [n·d, B], and the
    parameters. Returns h after each step [n·d, T·B], c after the last [n·d, B], masks and
    probabilities [n, T·B].
    """

    @staticmethod
    def forward(ctx: Any, sizes: Sizes, *given: Tensor) -> tuple[Tensor, ...]:
        needed = Weights(*ctx.needs_input_grad[8:])
        s = sizes._replace(
            taped=int(any(ctx.needs_input_grad)),
            modules_learn=int(needed.input or needed.hidden or needed.bias),
            attention_learns=int(any(needed[4:])),
        )
        found, ctx.tape, ctx.kept = _go_forward(s, *given)
        starts, _, _, keys, values, _, _, *parameters = given
        ctx.sizes, ctx.needed = s, needed
        ctx.save_for_backward(starts, keys, values, *parameters)
        ctx.mark_non_differentiable(*found[2:])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor, *_: Tensor) -> tuple[Any, ...]:
        d_last = d_last.contiguous()
        s: Sizes = ctx.sizes
        starts, keys, values, *parameters = ctx.saved_tensors
        back, frames, state = back_of(s), keys.shape[-1], s.modules * s.hidden
        d_keys, d_values = torch.empty_like(keys), torch.empty_like(values)
        d_h, d_c = keys.new_empty(state, s.tiles * WIDTH), torch.empty_like(d_last)
        d_first = keys.new_zeros(state, s.tiles * WIDTH)
        widths = (
            4 * state * s.modules_learn,
            s.modules * s.heads * s.key * s.attention_learns,
            3 * s.modules * s.talkers * s.features * s.attention_learns,
            state * s.attention_learns,
        )
        returned = Returned(*(scratch(keys, width, frames) for width in widths))
        work = scratch(keys, s.tiles, back.end, WIDTH)
        given = (starts, keys, values, ctx.kept.seen, ctx.tape, work)
        arrived = d_outputs.contiguous(), d_last
        rows = Backward(*given, *arrived, *returned, d_keys, d_values, d_h, d_c, d_first)
        launch(backward, s.tiles, (tuple(s), tuple(places_of(s)), tuple(back)), rows, parameters)
        start = d_first.sum(1).view(s.modules, s.hidden)
        gradients = _gradients(s, ctx.kept, returned, start)
        wanted = (g if need else None for g, need in zip(gradients, ctx.needed, strict=True))
        return None, None, None, None, d_keys, d_values, d_h, d_c, *wanted


def _gradients(s: Sizes, kept: Kept, returned: Returned, start: Tensor) -> Weights:
    """Those of the parameters, products over all frames: None in a group that does not learn."""

    def apart(x: Tensor) -> Tensor:
        return x.view(s.modules, len(x) // s.modules, -1)  # [n, rows, T·B]

    d, reads = s.hidden, s.heads * s.value
    seen, between, message = map(apart, kept)
    gradients = Weights(start, *[None] * 7)
    if s.modules_learn:
        gates = apart(returned.gates)
        of_both = gates @ seen.mT  # [n, 4·d, H·value + d]
        of_input = None if s.ahead else of_both[:, : s.gates * d, :reads]  # else by autograd
        of_hidden = of_both[:, :, reads:]
        if not s.lstm:
            of_hidden = torch.cat([of_hidden[:, : 2 * d], of_hidden[:, 3 * d :]], 1)
        bias = gates[:, : s.gates * d].sum(2)
        gradients = gradients._replace(input=of_input, hidden=of_hidden, bias=bias)
    if s.attention_learns:
        query, projected, change = map(apart, returned[1:])
        gradients = gradients._replace(
            query=query @ seen[:, reads:].mT,
            query_bias=query.sum(2),
            talk=projected @ between.mT,
            listen=change @ message.mT,
        )
    return gradients
