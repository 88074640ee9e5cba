"""A span of T steps as one autograd function, its backward pass written out.

Nothing is recorded step by step but what the backward pass needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .attention import ATTENTIONS
from .communication import communicate, communicate_back
from .dynamics import DYNAMICS
from .reading import read_all, reading_of, values_back, weigh
from .weights import Weights

if TYPE_CHECKING:
    from ..config import RIMsConfig


class Chance(NamedTuple):
    """What decides beside attention in one step, [n, B] each: who is chosen, who is knocked out."""

    priority: Tensor | None
    lots: Tensor | None


class StepRecord(NamedTuple):
    """What one step leaves for its backward pass."""

    reset: Tensor | None  # [B]
    key: Tensor  # [H, S, key, B]
    value: Tensor  # [H, S, value, B], or [n, z, B] ahead
    queries: Tensor  # [n, H, 1, key, B]
    attention: Tensor  # [n, H, S, B]
    chosen: Any  # the attention's own
    mask: Tensor  # [n, 1, B], 1 where active
    x: Tensor  # [n, r + d, B], what each module reads and its h, which is all of it ahead
    c: Tensor  # [n, d, B]
    stepped: Any  # the dynamics' own
    between: Tensor  # [n, d, B], h before communication
    qkv: Tensor  # [n, 3, Hc, e, B], queries, keys and values
    attended: Tensor  # [n, n, Hc, B], with which weight each attends to each
    values_read: Tensor  # [n, Hc·e, B]


class Span(torch.autograd.Function):
    """T steps of the cell with their backward pass written out."""

    @staticmethod
    def forward(
        ctx: Any,
        config: RIMsConfig,
        priority: Tensor | None,
        lots: Tensor | None,
        resets: list[Tensor | None],
        keys: Tensor,
        values: Tensor,
        h: Tensor,
        c: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """h after each step [T, n, d, B], c after the last, masks and probabilities [T, n, B]."""
        steps: list[StepRecord] = []
        outputs, probabilities = h.new_empty(len(keys), *h.shape), []
        afters = outputs.detach()  # what steps keep must not lead back to this function's result
        given = Weights(*weights)
        seen = values if len(given.read) == 0 else read_all(given, values)
        for t, (reset, key, value) in enumerate(zip(resets, keys, seen, strict=True)):
            chance = Chance(*(None if rows is None else rows[t] for rows in (priority, lots)))
            c, probability, step = _step(config, given, chance, reset, key, value, h, c, afters[t])
            h = afters[t]
            probabilities.append(probability)
            steps.append(step)
        masks = torch.stack([step.mask.squeeze(1) for step in steps]) > 0
        probability = torch.stack(probabilities)
        ctx.config, ctx.steps = config, steps
        ctx.save_for_backward(keys, values, *weights)
        ctx.mark_non_differentiable(masks, probability)
        return outputs, c, masks, probability

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, dc: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Step by step back, from the gradients of the first two."""
        keys, values, *saved = ctx.saved_tensors
        weights = Weights(*saved)
        needed = Weights(*ctx.needs_input_grad[-len(weights) :])
        gradients = Weights(*(torch.zeros_like(weight) for weight in weights))
        dh = torch.zeros_like(d_outputs[0])
        d_start = torch.zeros_like(dh)
        d_keys, d_values = torch.empty_like(keys), torch.empty_like(values)
        ahead = len(weights.read) > 0
        d_product = torch.empty_like(ctx.steps[0].value)  # of one step: it stays in a cache
        for t in reversed(range(len(keys))):
            step = ctx.steps[t]
            dh, dc = _step_back(
                ctx.config,
                weights,
                step,
                needed,
                gradients,
                dh + d_outputs[t],
                dc,
                d_keys[t],
                d_product if ahead else d_values[t],
            )
            if ahead:
                rows = d_product.flatten(0, 1)
                torch.mm(weights.read.mT, rows, out=d_values[t])
                if needed.read:
                    gradients.read.addmm_(rows, values[t].mT)
            if step.reset is not None:
                keep = 1 - step.reset
                d_start.addcmul_(dh, step.reset)
                dh, dc = dh * keep, dc * keep
        torch.sum(d_start, 2, keepdim=True, out=gradients.start)
        return (
            None,
            None,
            None,
            None,
            d_keys,
            d_values,
            dh,
            dc,
            *(gradient if need else None for gradient, need in zip(gradients, needed, strict=True)),
        )


def _step(
    config: RIMsConfig,
    weights: Weights,
    chance: Chance,
    reset: Tensor | None,
    key: Tensor,
    value: Tensor,
    h: Tensor,
    c: Tensor,
    after: Tensor,
) -> tuple[Tensor, Tensor, StepRecord]:
    """One step: fills h [n, d, B] after it in; c after it, the probabilities [n, B], and what its
    backward pass needs.
    """
    attend, dynamics = ATTENTIONS[config.attention], DYNAMICS[config.dynamics]
    if reset is not None:
        h, c = torch.lerp(h, weights.start, reset), c * (1 - reset)
    queries = torch.baddbmm(weights.query_bias, weights.query, h)
    queries = queries.view(config.modules, config.heads, 1, config.key, -1)
    scores = (queries * key).sum(3)  # [n, H, S, B]
    attention, mask, probability, chosen = attend.forward(scores, config.active, chance.priority)
    mask = _knock_out(config, mask, chance.lots)
    mask = mask.unsqueeze(1).to(h.dtype)
    z, x = reading_of(value).forward(weights, attention, value, h)
    stepped_h, stepped_c, stepped = dynamics.forward(z, h, c)
    between = torch.lerp(h, stepped_h, mask)  # exact where the mask is 0 or 1; faster than `where`
    qkv = torch.bmm(weights.communication, between)
    heads, features = config.communication_heads, config.communication_key
    qkv = qkv.view(config.modules, 3, heads, features, -1)
    attended, values_read = communicate(qkv)
    torch.addcmul(between, torch.bmm(weights.communication_output, values_read), mask, out=after)
    step = StepRecord(
        reset,
        key,
        value,
        queries,
        attention,
        chosen,
        mask,
        x,
        c,
        stepped,
        between,
        qkv,
        attended,
        values_read,
    )
    return torch.lerp(c, stepped_c, mask), probability, step


def _step_back(
    config: RIMsConfig,
    weights: Weights,
    step: StepRecord,
    needed: Weights,
    gradients: Weights,
    dh: Tensor,
    dc: Tensor,
    d_key: Tensor,
    d_value: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of one step's h and c (after the reset); fills d_key and d_value in and adds to
    `gradients`.
    """
    attend, dynamics = ATTENTIONS[config.attention], DYNAMICS[config.dynamics]
    mask = step.mask
    d_output = dh * mask
    d_values_read = torch.bmm(weights.communication_output.mT, d_output)
    d_qkv = communicate_back(d_values_read, step.qkv, step.attended)
    d_between = torch.baddbmm(dh, weights.communication.mT, d_qkv)
    h = step.x[:, -config.hidden :]
    dz, dh_own, dc_own = dynamics.backward(d_between * mask, dc * mask, step.stepped, h, step.c)
    dx = torch.bmm(weights.weight.mT, dz)
    d_attention = reading_of(step.value).backward(dz, dx, step.attention, step.value, d_value)
    d_scores = attend.backward(d_attention, step.chosen)
    d_queries = weigh(d_scores, step.key).flatten(1, 2)
    values_back(step.queries.squeeze(2), d_scores, d_key)
    dh_through = dx[:, -config.hidden :]
    dh = torch.lerp(d_between, dh_through if dh_own is None else dh_through + dh_own, mask)
    dh.baddbmm_(weights.query.mT, d_queries)
    if needed.communication_output:
        gradients.communication_output.baddbmm_(d_output, step.values_read.mT)
    if needed.communication:
        gradients.communication.baddbmm_(d_qkv, step.between.mT)
    if needed.weight:
        gradients.weight.baddbmm_(dz, step.x.mT)
        gradients.bias.add_(dz.sum(2, keepdim=True))
    if needed.query:
        gradients.query.baddbmm_(d_queries, h.mT)
        gradients.query_bias.add_(d_queries.sum(2, keepdim=True))
    return dh, torch.lerp(dc, dc_own, mask)


def _knock_out(config: RIMsConfig, mask: Tensor, lots: Tensor | None) -> Tensor:
    """The mask [n, B] of those that step; the others read what they would have read anyway."""
    if config.disabled >= 0:
        mask = mask.index_fill(0, torch.tensor(config.disabled, device=mask.device), False)
    if lots is not None:
        lots = lots.masked_fill(~mask, torch.iinfo(lots.dtype).min)
        mask = mask.scatter(0, lots.topk(config.knock_out, 0).indices, False)
    return mask
