"""Recurrent Independent Mechanisms: modules that compete for the input and talk through attention.

Goyal et al. 2019 (arXiv:1909.10893) as used by Madan et al. 2021 (Meta-RIMs, §2.1). Inside, tensors
keep the batch last, ``[n, features, B]``: every mask and weight is then a broadcast over the
contiguous axis, and each product is one batched matrix product over the modules. The time loop is
one autograd function with its backward written out, so that nothing is recorded step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .errors import UsageError, check_between, check_choice, check_positive
from .protocols import Diagnostics, State

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward

EPSILON = 1e-3  # bounds the slope of the sparse weights where the k + 1 best modules tie


@dataclass(frozen=True)
class RIMsConfig:
    """Sizes and variants of the cell.

    Attributes:
        inputs: D, features of one input slot.
        modules: n.
        active: k, how many modules step at a time.
        hidden: d, state size of one module.
        attention: "sparse" (softmax across modules, the (k+1)-th probability subtracted) or "null"
            (RIMs v1: softmax between the slots and an empty one).
        dynamics: "lstm" or "gru".
        choice: "top" (the k best), "random" (k drawn anew each step) or "fixed" (the first k).
        heads, key, value: input attention's heads and the features of one head.
        communication_heads, communication_key: those of the attention between modules.
        knock_out: how many of the active modules, drawn anew each step, stand still all the same
            (Meta-RIMs, Fig. 9).
        disabled: a module that always stands still, counted from 0; -1 for none.
    """

    inputs: int
    modules: int = 5
    active: int = 3
    hidden: int = 32
    attention: str = "sparse"
    dynamics: str = "lstm"
    choice: str = "top"
    heads: int = 1
    key: int = 32
    value: int = 64
    communication_heads: int = 4
    communication_key: int = 16
    knock_out: int = 0
    disabled: int = -1

    def __post_init__(self) -> None:
        check_positive(
            inputs=self.inputs,
            modules=self.modules,
            active=self.active,
            hidden=self.hidden,
            heads=self.heads,
            key=self.key,
            value=self.value,
            communication_heads=self.communication_heads,
            communication_key=self.communication_key,
        )
        if self.active > self.modules:
            raise UsageError(f"active must be at most modules, {self.modules}, got {self.active}")
        check_between(0, self.active, knock_out=self.knock_out)
        check_between(-1, self.modules - 1, disabled=self.disabled)
        check_choice("attention", self.attention, ATTENTIONS)
        check_choice("dynamics", self.dynamics, DYNAMICS)
        check_choice("choice", self.choice, ("top", "random", "fixed"))


class RIMs(nn.Module):
    """The cell over a span of T steps; hidden state is argument and result.

    State: ``(h [B, n, d], c [B, n, d], draws int64 [B])``; c has width 0 for GRU dynamics, draws
    counts the steps, for what is drawn at random in each.
    """

    def __init__(self, config: RIMsConfig) -> None:
        super().__init__()
        self.config = config
        n, d, gates = config.modules, config.hidden, DYNAMICS[config.dynamics].gates
        read = config.heads * config.value
        talk = config.communication_heads * config.communication_key
        self.start = nn.Parameter(torch.randn(n, d) * 0.5)  # learnt: equal queries would tie
        # The active modules share the input, each gets about a k-th of it.
        self.input_weight = _uniform(n, gates * d, read, gain=config.active)
        self.hidden_weight = _uniform(n, gates * d, d)
        self.bias = nn.Parameter(torch.zeros(n, gates * d))
        self.query = _uniform(n, config.heads * config.key, d)
        self.query_bias = nn.Parameter(torch.randn(n, config.heads * config.key))
        self.key = nn.Linear(config.inputs, config.heads * config.key, bias=False)
        self.value = nn.Linear(config.inputs, read, bias=False)
        for projection in (self.key, self.value):
            nn.init.uniform_(projection.weight, *_bounds(config.inputs, math.sqrt(3)))
        self.talk = _uniform(n, 3 * talk, d)
        self.listen = _uniform(n, d, talk)

    def module_parameters(self) -> list[nn.Parameter]:
        """The dynamics of the modules and their first state: what the fast loop learns."""
        return [self.start, self.input_weight, self.hidden_weight, self.bias]

    def attention_parameters(self) -> list[nn.Parameter]:
        """Input and communication attention: what the slow loop learns."""
        reads = [*self.key.parameters(), *self.value.parameters()]
        return [self.query, self.query_bias, *reads, self.talk, self.listen]

    def initial_state(self, batch: int) -> State:
        """The learnt first state for `batch` environments, without gradient."""
        h = self.start.detach().expand(batch, -1, -1).clone()
        width = self.config.hidden if self.config.dynamics == "lstm" else 0
        c = h.new_zeros(batch, self.config.modules, width)
        draws = torch.arange(batch, dtype=torch.int64, device=h.device) << 32
        return h, c, draws

    def forward(self, x: Tensor, state: State, starts: Tensor) -> tuple[Tensor, State, Diagnostics]:
        """Run a span.

        Args:
            x: [T, B, D], or slots [T, B, S, D].
            state: as `initial_state` gives it.
            starts: bool [T, B]; where true the state is reset before the step.

        Returns:
            The modules' states side by side [T, B, n·d], the state after the last step, and
            ``module_mask`` bool [T, B, n] (who was active) with ``module_claim`` [T, B, n]
            (the attention's distribution over modules, summing to 1).
        """
        config = self.config
        h, c, draws = state
        slots = x if x.dim() == 4 else x.unsqueeze(2)
        keys = _heads_first(self.key(slots), config.heads) * config.key**-0.5
        priority, lots = self._priority(draws, len(x)), self._lots(draws, len(x))
        reads, weight, bias = DYNAMICS[config.dynamics].pack(
            self.input_weight, self.hidden_weight, self.bias
        )
        if slots.shape[2] * config.heads == 1:
            read, values = _read_ahead_of(reads, self.value.weight, slots.squeeze(2))
        else:
            read, values = reads.new_empty(0), _heads_first(self.value(slots), config.heads)
            weight = torch.cat([reads, weight], 2)
        weights = Weights(
            read,
            self.start.unsqueeze(2),
            weight,
            bias.unsqueeze(2),
            self.query,
            self.query_bias.unsqueeze(2),
            self._scaled_talk(),
            self.listen,
        )
        resets = reset_rows(starts, x.dtype)
        outputs, last, mask, claim = _Span.apply(  # type: ignore[no-untyped-call]
            config,
            priority,
            lots,
            resets,
            keys,
            values,
            h.permute(1, 2, 0).contiguous(),
            c.permute(1, 2, 0).contiguous(),
            *weights,
        )  # outputs [T, n, d, B]
        h = outputs[-1].permute(2, 0, 1)
        diagnostics = {"module_mask": mask.mT, "module_claim": claim.mT}
        flat = outputs.permute(0, 3, 1, 2).flatten(2)
        return flat, (h, last.permute(2, 0, 1), draws + len(x)), diagnostics

    def _scaled_talk(self) -> Tensor:
        """With the queries' scale, e^-1/2, taken in ahead."""
        queries, others = self.talk.tensor_split([self.talk.shape[1] // 3], 1)
        return torch.cat([queries * self.config.communication_key**-0.5, others], 1)

    def _priority(self, draws: Tensor, steps: int) -> Tensor | None:
        """What the choice goes by instead of attention, [T, n, B]."""
        if self.config.choice == "top":
            return None
        if self.config.choice == "fixed":
            modules = torch.arange(self.config.modules, device=draws.device)
            return (-modules).view(1, -1, 1).expand(steps, -1, len(draws))
        return scramble(self._seeds(draws, steps))

    def _lots(self, draws: Tensor, steps: int) -> Tensor | None:
        """What decides which of the active modules are knocked out, [T, n, B]."""
        return scramble(~self._seeds(draws, steps)) if self.config.knock_out else None

    def _seeds(self, draws: Tensor, steps: int) -> Tensor:
        """A number for each step, module and environment, [T, n, B]."""
        modules = torch.arange(self.config.modules, device=draws.device)
        ticks = draws + torch.arange(steps, device=draws.device).unsqueeze(1)  # [T, B]
        return ticks.unsqueeze(1) * self.config.modules + modules.unsqueeze(1)


class Weights(NamedTuple):
    """What the time loop multiplies with, or the gradients of it.

    read [n·z, D], from the input to the modules' dynamics, where that product is taken ahead of the
    loop; start [n, d, 1]; weight [n, z, r + d] and bias [n, z, 1], from what a module reads and
    remembers to its dynamics (r is 0 where the reading's product is taken ahead); query
    [n, H·key, d] and its bias; talk [n, 3·Hc·e, d] and listen [n, d, Hc·e].
    """

    read: Tensor
    start: Tensor
    weight: Tensor
    bias: Tensor
    query: Tensor
    query_bias: Tensor
    talk: Tensor
    listen: Tensor


class Chance(NamedTuple):
    """What decides beside attention in one step, [n, B] each: who is chosen, who is knocked out."""

    priority: Tensor | None
    lots: Tensor | None


class Step(NamedTuple):
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
    said: Tensor  # [n, 3, Hc, e, B], queries, keys and values
    listening: Tensor  # [n, n, Hc, B], who listens to whom
    heard: Tensor  # [n, Hc·e, B]


class _Span(torch.autograd.Function):
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
        steps: list[Step] = []
        outputs, claims = h.new_empty(len(keys), *h.shape), []
        afters = outputs.detach()  # what steps keep must not lead back to this function's result
        given = Weights(*weights)
        seen = values if len(given.read) == 0 else _read_all(given, values)
        for t, (reset, key, value) in enumerate(zip(resets, keys, seen, strict=True)):
            chance = Chance(*(None if rows is None else rows[t] for rows in (priority, lots)))
            c, claim, step = _step(config, given, chance, reset, key, value, h, c, afters[t])
            h = afters[t]
            claims.append(claim)
            steps.append(step)
        masks = torch.stack([step.mask.squeeze(1) for step in steps]) > 0
        claim = torch.stack(claims)
        ctx.config, ctx.steps = config, steps
        ctx.save_for_backward(keys, values, *weights)
        ctx.mark_non_differentiable(masks, claim)
        return outputs, c, masks, claim

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, dc: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
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
) -> tuple[Tensor, Tensor, Step]:
    """One step: fills h [n, d, B] after it in; c after it, the claims [n, B], and what its backward
    pass needs.
    """
    attend, dynamics = ATTENTIONS[config.attention], DYNAMICS[config.dynamics]
    if reset is not None:
        h, c = torch.lerp(h, weights.start, reset), c * (1 - reset)
    queries = torch.baddbmm(weights.query_bias, weights.query, h)
    queries = queries.view(config.modules, config.heads, 1, config.key, -1)
    scores = (queries * key).sum(3)  # [n, H, S, B]
    attention, mask, claim, chosen = attend.forward(scores, config.active, chance.priority)
    mask = _knock_out(config, mask, chance.lots)
    mask = mask.unsqueeze(1).to(h.dtype)
    z, x = _reading(value).forward(weights, attention, value, h)
    stepped_h, stepped_c, stepped = dynamics.forward(z, h, c)
    between = torch.lerp(h, stepped_h, mask)  # exact where the mask is 0 or 1; faster than `where`
    said = torch.bmm(weights.talk, between)
    talkers, features = config.communication_heads, config.communication_key
    said = said.view(config.modules, 3, talkers, features, -1)
    listening, heard = _communicate(said)
    torch.addcmul(between, torch.bmm(weights.listen, heard), mask, out=after)
    step = Step(
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
        said,
        listening,
        heard,
    )
    return torch.lerp(c, stepped_c, mask), claim, step


def _step_back(
    config: RIMsConfig,
    weights: Weights,
    step: Step,
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
    d_listened = dh * mask
    d_heard = torch.bmm(weights.listen.mT, d_listened)
    d_said = _communicate_back(d_heard, step.said, step.listening)
    d_between = torch.baddbmm(dh, weights.talk.mT, d_said)
    h = step.x[:, -config.hidden :]
    dz, dh_own, dc_own = dynamics.backward(d_between * mask, dc * mask, step.stepped, h, step.c)
    dx = torch.bmm(weights.weight.mT, dz)
    d_attention = _reading(step.value).backward(dz, dx, step.attention, step.value, d_value)
    d_scores = attend.backward(d_attention, step.chosen)
    d_queries = _weigh(d_scores, step.key).flatten(1, 2)
    _values_back(step.queries.squeeze(2), d_scores, d_key)
    dh_through = dx[:, -config.hidden :]
    dh = torch.lerp(d_between, dh_through if dh_own is None else dh_through + dh_own, mask)
    dh.baddbmm_(weights.query.mT, d_queries)
    if needed.listen:
        gradients.listen.baddbmm_(d_listened, step.heard.mT)
    if needed.talk:
        gradients.talk.baddbmm_(d_said, step.between.mT)
    if needed.weight:
        gradients.weight.baddbmm_(dz, step.x.mT)
        gradients.bias.add_(dz.sum(2, keepdim=True))
    if needed.query:
        gradients.query.baddbmm_(d_queries, h.mT)
        gradients.query_bias.add_(d_queries.sum(2, keepdim=True))
    return dh, torch.lerp(dc, dc_own, mask)


def reset_rows(starts: Tensor, dtype: torch.dtype) -> list[Tensor | None]:
    """Of starts [T, B] a row for each step, 1 where an episode starts; None for a step where none
    does. A GPU is not waited for to know.
    """
    needed = [True] * len(starts) if starts.is_cuda else starts.any(1).tolist()
    rows = starts.to(dtype)
    return [row if need else None for row, need in zip(rows, needed, strict=True)]


def _knock_out(config: RIMsConfig, mask: Tensor, lots: Tensor | None) -> Tensor:
    """The mask [n, B] of those that step; the others read what they would have read anyway."""
    if config.disabled >= 0:
        mask = mask.index_fill(0, torch.tensor(config.disabled, device=mask.device), False)
    if lots is not None:
        lots = lots.masked_fill(~mask, torch.iinfo(lots.dtype).min)
        mask = mask.scatter(0, lots.topk(config.knock_out, 0).indices, False)
    return mask


def _weigh(weights: Tensor, values: Tensor) -> Tensor:
    """Sum over slots: weights [n, H, S, B], values [H, S, f, B] to [n, H, f, B]."""
    total = weights[:, :, 0].unsqueeze(2) * values[:, 0]
    for slot in range(1, values.shape[1]):
        total.addcmul_(weights[:, :, slot].unsqueeze(2), values[:, slot])
    return total


def _weights_back(d_read: Tensor, values: Tensor) -> Tensor:
    """Gradient of `_weigh`'s weights: d_read [n, H, f, B], values [H, S, f, B] to [n, H, S, B]."""
    return (d_read.unsqueeze(2) * values).sum(3)


def _values_back(d_read: Tensor, weights: Tensor, out: Tensor) -> None:
    """Gradient of `_weigh`'s values: d_read [n, H, f, B], weights [n, H, S, B] to [H, S, f, B]."""
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


def _reading(value: Tensor) -> Reading:
    """From many slots or heads a module reads a mixture; from one, a multiple of the same vector,
    whose product with the weights is then taken for all steps ahead of the loop.
    """
    return READ_AHEAD if value.dim() == 3 else READ_MIXTURE


def _read_ahead_of(reads: Tensor, value: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of what each module reads at full attention, in the order that costs less.

    From weights [n, z, r] and [r, D] and x [T, B, D] to [n·z, F] and [T, F, B].
    """
    frames, rows = x.shape[0] * x.shape[1], reads.shape[0] * reads.shape[1]
    inner, features = value.shape
    if frames * inner * (features + rows) < rows * features * (inner + frames):
        return reads.flatten(0, 1), (x @ value.T).mT
    return reads.flatten(0, 1) @ value, x.mT


def _read_all(weights: Weights, x: Tensor) -> Tensor:
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
    x = torch.cat([_weigh(attention, value).flatten(1, 2), h], 1)
    return torch.baddbmm(weights.bias, weights.weight, x), x


def _read_mixture_back(
    dz: Tensor, dx: Tensor, attention: Tensor, value: Tensor, out: Tensor
) -> Tensor:
    heads, _, features, batch = value.shape
    d_read = dx[:, : heads * features].reshape(len(dx), heads, features, batch)
    _values_back(d_read, attention, out)
    return _weights_back(d_read, value)


READ_AHEAD = Reading(_read_ahead, _read_ahead_back)
READ_MIXTURE = Reading(_read_mixture, _read_mixture_back)


def _communicate(said: Tensor) -> tuple[Tensor, Tensor]:
    """Attention between modules: said [n, 3, Hc, e, B] to who listens to whom and what is heard."""
    queries, keys, values = said.unbind(1)
    listening = _pair(queries, keys).softmax(1)  # [n, n, Hc, B]
    heard = listening[:, 0].unsqueeze(2) * values[0]
    for module in range(1, len(said)):
        heard.addcmul_(listening[:, module].unsqueeze(2), values[module])
    return listening, heard.flatten(1, 2)


def _communicate_back(d_heard: Tensor, said: Tensor, listening: Tensor) -> Tensor:
    """Gradient of what was said [n, 3·Hc·e, B], from that of what was heard [n, Hc·e, B]."""
    queries, keys, values = said.unbind(1)
    d_heard = d_heard.view_as(queries)
    d_scores = _softmax_back(_pair(d_heard, values), listening, 1)
    d_said = torch.empty_like(said)
    d_queries, d_keys, d_values = d_said.unbind(1)
    torch.mul(d_scores[:, 0].unsqueeze(2), keys[0], out=d_queries)
    torch.mul(d_scores[0].unsqueeze(2), queries[0], out=d_keys)
    torch.mul(listening[0].unsqueeze(2), d_heard[0], out=d_values)
    for module in range(1, len(said)):
        d_queries.addcmul_(d_scores[:, module].unsqueeze(2), keys[module])
        d_keys.addcmul_(d_scores[module].unsqueeze(2), queries[module])
        d_values.addcmul_(listening[module].unsqueeze(2), d_heard[module])
    return d_said.flatten(1, 3)


def _pair(left: Tensor, right: Tensor) -> Tensor:
    """Each module's product with each other's, [n, Hc, e, B] twice to [n, n, Hc, B].

    Feature by feature: their products all at once would not fit in a cache.
    """
    lefts, rights = left.unsqueeze(1).unbind(3), right.unbind(2)
    total = lefts[0] * rights[0]
    for one, other in zip(lefts[1:], rights[1:], strict=True):
        total.addcmul_(one, other)
    return total


def _softmax_back(gradient: Tensor, softmax: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    weighted = gradient * softmax
    return weighted - softmax * weighted.sum(dim, keepdim=True)


class Attention(NamedTuple):
    """An input attention: from scores to weights and the choice, and back.

    forward(scores [n, H, S, B], k, priority [n, B] or None) gives weights [n, H, S, B], the mask
    bool [n, B] of the k active modules, their claims [n, B] (a distribution over modules) and what
    backward needs; backward(gradient of weights, that) gives the gradient of the scores.
    """

    forward: Callable[[Tensor, int, Tensor | None], tuple[Tensor, Tensor, Tensor, Any]]
    backward: Callable[[Tensor, Any], Tensor]


def _choose(order: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The mask of the k largest along the first axis, and the indices in falling order."""
    best = order.topk(min(k + 1, len(order)), 0).indices
    return torch.zeros_like(order, dtype=torch.bool).scatter_(0, best[:k], True), best


def _sparse(scores: Tensor, k: int, priority: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Any]:
    competing = scores.softmax(0)
    claim = competing.mean((1, 2))
    mask, best = _choose(claim if priority is None else priority, k)
    runner_up = best[k:] if priority is None else best[:0]
    excess = (claim - claim.gather(0, runner_up).sum(0)) * mask
    total = excess.sum(0) + EPSILON
    share = excess / total  # [n, B]
    slots = scores.softmax(2)
    weights = share[:, None, None] * slots
    return weights, mask, claim, (competing, mask, runner_up, share, total, slots)


def _sparse_back(gradient: Tensor, saved: Any) -> Tensor:
    competing, mask, runner_up, share, total, slots = saved
    weighted = gradient * slots
    d_share = weighted.sum((1, 2))
    d_excess = (d_share - (d_share * share).sum(0)) / total * mask
    d_runner_up = -d_excess.sum(0, keepdim=True).expand(len(runner_up), -1)
    d_claim = d_excess.scatter_add(0, runner_up, d_runner_up)
    d_competing = d_claim[:, None, None] / (competing.shape[1] * competing.shape[2])
    d_scores = _softmax_back(d_competing, competing, 0)
    if slots.shape[2] > 1:  # a single slot gets its module's whole share anyway
        d_scores.addcmul_(share[:, None, None], _softmax_back(gradient, slots, 2))
    return d_scores


def _null(scores: Tensor, k: int, priority: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Any]:
    empty = torch.zeros_like(scores[:, :, :1])
    weights = torch.cat([scores, empty], 2).softmax(2)[:, :, :-1]
    claim = weights.sum(2).mean(1)
    mask, _ = _choose(claim if priority is None else priority, k)
    return weights, mask, claim / claim.sum(0), weights


ATTENTIONS = {
    "sparse": Attention(_sparse, _sparse_back),
    "null": Attention(_null, lambda gradient, weights: _softmax_back(gradient, weights, 2)),
}


class Dynamics(NamedTuple):
    """How a module steps, and back.

    pack(input weight [n, G, r], hidden weight [n, G, d], bias [n, G]) gives those that lead to z,
    [n, z, r], [n, z, d] and [n, z]; forward(z [n, z, B], h, c) gives h, c [n, d, B] and what
    backward needs; backward(dh, dc, that, h, c) gives dz and what reaches h and c without z.
    """

    gates: int
    pack: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    forward: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Any]]
    backward: Callable[[Tensor, Tensor, Any, Tensor, Tensor], tuple[Tensor, Tensor | None, Tensor]]


def _pack_lstm(inputs: Tensor, hidden: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return inputs, hidden, bias


def _lstm(z: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Any]:
    """Gates in the order input, forget, output, candidate; z is overwritten by their values."""
    d = z.shape[1] // 4
    z[:, : 3 * d].sigmoid_()
    z[:, 3 * d :].tanh_()
    i, f, o, g = z.chunk(4, 1)
    c = torch.addcmul(f * c, i, g)
    squashed = c.tanh()
    return o * squashed, c, (z, squashed)


def _lstm_back(
    dh: Tensor, dc: Tensor, saved: Any, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    z, squashed = saved
    i, f, o, g = z.chunk(4, 1)
    reached = dh * o
    dc = dc + tanh_backward(reached, squashed)
    dz = torch.empty_like(z)
    di, df, do, dg = dz.chunk(4, 1)
    torch.mul(dc, g, out=di)
    torch.mul(dc, c, out=df)
    torch.mul(dh, squashed, out=do)
    torch.mul(dc, i, out=dg)
    _through_sigmoid(dz, z, 3)
    tanh_backward.grad_input(dg, g, grad_input=dg)
    return dz, None, dc * f


def _pack_gru(inputs: Tensor, hidden: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Four rows of z from three gates: the candidate's two halves apart, as the reset gates one."""
    n, gates, read = inputs.shape
    d = gates // 3
    nothing_read, nothing_held = inputs.new_zeros(n, d, read), inputs.new_zeros(n, d, d)
    inputs = torch.cat([inputs, nothing_read], 1)
    hidden = torch.cat([hidden[:, : 2 * d], nothing_held, hidden[:, 2 * d :]], 1)
    return inputs, hidden, torch.cat([bias, bias.new_zeros(n, d)], 1)


def _gru(z: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Any]:
    """Gates in the order reset, update, candidate from input, candidate from state."""
    d = z.shape[1] // 4
    z[:, : 2 * d].sigmoid_()
    r, u, read, held = z.chunk(4, 1)
    candidate = torch.addcmul(read, r, held).tanh_()
    return torch.lerp(candidate, h, u), c, (z, candidate)


def _gru_back(
    dh: Tensor, dc: Tensor, saved: Any, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    z, candidate = saved
    r, u, _, held = z.chunk(4, 1)
    dz = torch.empty_like(z)
    dr, du, d_read, d_held = dz.chunk(4, 1)
    torch.mul(dh, 1 - u, out=d_read)
    tanh_backward.grad_input(d_read, candidate, grad_input=d_read)
    torch.mul(d_read, r, out=d_held)
    torch.mul(d_read, held, out=dr)
    torch.mul(dh, h - candidate, out=du)
    _through_sigmoid(dz, z, 2)
    return dz, dh * u, dc


def _through_sigmoid(dz: Tensor, z: Tensor, quarters: int) -> None:
    """Of the gradient of the first quarters of z make that of what the sigmoid was taken of."""
    rows = quarters * z.shape[1] // 4
    sigmoid_backward.grad_input(dz[:, :rows], z[:, :rows], grad_input=dz[:, :rows])


DYNAMICS = {
    "lstm": Dynamics(4, _pack_lstm, _lstm, _lstm_back),
    "gru": Dynamics(3, _pack_gru, _gru, _gru_back),
}


def _heads_first(x: Tensor, heads: int) -> Tensor:
    """[T, B, S, H·f] to [T, H, S, f, B]."""
    return x.view(*x.shape[:3], heads, -1).permute(0, 3, 2, 4, 1).contiguous()


def _uniform(*shape: int, gain: float = 1.0) -> nn.Parameter:
    """Uniform in ±gain/√(last axis); with 1 as torch's linear layers begin, with √3 of gain one."""
    return nn.Parameter(torch.empty(shape).uniform_(*_bounds(shape[-1], gain)))


def _bounds(inputs: int, gain: float) -> tuple[float, float]:
    return -gain / math.sqrt(inputs), gain / math.sqrt(inputs)


def scramble(x: Tensor) -> Tensor:
    """SplitMix64's mixing of int64: neighbours become unrelated."""
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31 & 0x1FFFFFFFF)
