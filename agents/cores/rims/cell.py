"""Recurrent Independent Mechanisms: modules that compete for the input and attend to one another.

Goyal et al. 2019 (arXiv:1909.10893) as used by Madan et al. 2021 (Meta-RIMs, §2.1). Of n modules,
each with its own state, k are updated at a step: those that attend to the input most.

In the shapes: T steps, B environments, n modules of d units, S slots of D features, H heads of
input attention, and A heads of e features of the attention between modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, einsum, nn

from metarims.protocols import Observation, State

from ...frames import Frames, as_frames
from ..base import CoreOutput
from .idle import idle_loss
from .lots import choice_order, knock_out_lots

if TYPE_CHECKING:
    from .config import RIMsConfig

# Runs a cell over slots [T, B, S, D], from a state, with starts bool [T, B]: h after each step
# [T, B, n, d], the last h and c, masks and probabilities [T, B, n].
Spans = tuple[Tensor, tuple[Tensor, Tensor], Tensor, Tensor]
Run = Callable[["RIMs", Frames, State, Tensor], Spans]

EPSILON = 1e-3  # bounds the slope of the sparse weights where the k + 1 best modules tie


class RIMs(nn.Module):
    """The cell over a span of T steps; hidden state is passed in and out.

    State: ``(h [B, n, d], c [B, n, d], draws int64 [B])``; c has width 0 with GRU dynamics; draws
    counts steps, as the seed of each step's random draws.

    Args:
        config: sizes and variants.
        inputs: D.
        run: the form to run by; the definition by default.
    """

    def __init__(self, config: RIMsConfig, inputs: int, run: Run | None = None) -> None:
        super().__init__()
        self.config, self.outputs = config, config.modules * config.hidden
        self.run = run or run_by_definition
        n, d, gates = config.modules, config.hidden, GATES[config.dynamics]
        query, value = config.heads * config.key, config.heads * config.value
        message = config.communication_heads * config.communication_key
        self.start = nn.Parameter(torch.randn(n, d) * 0.5)  # learnt: equal queries would tie
        # The active modules share the input: each gets about a k-th of it.
        self.input_weight = _uniform(n, gates * d, value, gain=config.active)
        self.hidden_weight = _uniform(n, gates * d, d)
        self.bias = nn.Parameter(torch.zeros(n, gates * d))
        self.query = _uniform(n, query, d)
        self.query_bias = nn.Parameter(torch.randn(n, query))
        self.key = nn.Linear(inputs, query, bias=False)
        self.value = nn.Linear(inputs, value, bias=False)
        for projection in (self.key, self.value):
            nn.init.uniform_(projection.weight, *_bounds(inputs, math.sqrt(3)))
        self.communication = _uniform(n, 3 * message, d)  # queries, keys and values between modules
        self.communication_output = _uniform(n, d, message)

    @property
    def form(self) -> str:
        """The form that it runs by here."""
        from .forms import find_form  # which imports this module

        return f"RIMs {find_form(self)[0]}"

    def module_parameters(self) -> list[nn.Parameter]:
        """The dynamics of the modules and their initial state: what the fast loop learns."""
        return [self.start, self.input_weight, self.hidden_weight, self.bias]

    def attention_parameters(self) -> list[nn.Parameter]:
        """Input and communication attention: what the slow loop learns."""
        projections = [*self.key.parameters(), *self.value.parameters()]
        return [
            self.query,
            self.query_bias,
            *projections,
            self.communication,
            self.communication_output,
        ]

    def initial_state(self, batch: int) -> State:
        """The learnt initial state for `batch` environments, without gradient."""
        h = self.start.detach().expand(batch, -1, -1).clone()
        c = h.new_zeros(batch, *self.config.cell_shape)
        draws = torch.arange(batch, dtype=torch.int64, device=h.device) << 32
        return h, c, draws

    def forward(
        self, x: Tensor | Frames, state: State, starts: Tensor, obs: Observation
    ) -> CoreOutput:
        """Run a span.

        Args:
            x: [T, B, D], or slots [T, B, S, D].
            state: as `initial_state` gives it.
            starts: bool [T, B]; where true the state is reset before the step.
            obs: not used.

        Returns:
            The modules' states side by side [T, B, n·d], and as diagnostics ``module_mask`` bool
            [T, B, n] (which were active) and ``module_probabilities`` [T, B, n] (the attention's
            distribution over modules, summing to 1). The loss is `idle_loss` if the choice goes by
            attention and `least_use` is above 0.
        """
        slots = as_frames(x).as_slots()
        outputs, (h, c), mask, probabilities = self.run(self, slots, state, starts)
        diagnostics = {"module_mask": mask, "module_probabilities": probabilities}
        after = h, c, state[2] + len(starts)
        wakes = self.config.choice == "top" and self.config.least_use > 0
        span = state[0], starts, outputs, mask
        loss = (lambda _: idle_loss(self, slots.spread(), *span)) if wakes else None
        return CoreOutput(outputs.flatten(2), after, diagnostics, loss=loss)

    def step(
        self, key: Tensor, value: Tensor, h: Tensor, c: Tensor, tick: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """h and c after a step, which modules it updated, and the distribution over modules."""
        config = self.config
        query = einsum("nqd,bnd->bnq", self.query, h) + self.query_bias  # [B, n, H·key]
        query = query.unflatten(2, (config.heads, -1))  # [B, n, H, key]
        scores = einsum("bnhk,bshk->bnhs", query, key) / config.key**0.5  # [B, n, H, S]
        attend = ATTENTIONS[config.attention]
        weights, mask, probabilities = attend(scores, config.active, choice_order(config, tick))
        mask = knock_out(config, mask, tick)  # [B, n]
        read = einsum("bnhs,bshv->bnhv", weights, value).flatten(2)  # [B, n, H·value]
        from_input = einsum("ngr,bnr->bng", self.input_weight, read) + self.bias  # [B, n, gates·d]
        from_state = einsum("ngd,bnd->bng", self.hidden_weight, h)  # [B, n, gates·d]
        stepped_h, stepped_c = DYNAMICS[config.dynamics](from_input, from_state, h, c)
        active = mask.unsqueeze(2)  # [B, n, 1]
        h = torch.where(active, stepped_h, h)  # [B, n, d]
        c = torch.where(active, stepped_c, c)  # [B, n, d]
        h = torch.where(active, h + self.communicate(h), h)  # [B, n, d]
        return h, c, mask, probabilities

    def communicate(self, h: Tensor) -> Tensor:
        """Each module's update from attending to all modules, itself included: [B, n, d]."""
        heads, features = self.config.communication_heads, self.config.communication_key
        projected = einsum("nmd,bnd->bnm", self.communication, h)  # [B, n, 3·A·e]
        query, key, value = projected.unflatten(2, (3, heads, features)).unbind(2)  # [B, n, A, e]
        scores = einsum("biae,bjae->baij", query, key) / features**0.5  # [B, A, n, n]
        message = einsum("baij,bjae->biae", scores.softmax(3), value).flatten(2)  # [B, n, A·e]
        return einsum("ndm,bnm->bnd", self.communication_output, message)  # [B, n, d]


def run_by_definition(cell: RIMs, frames: Frames, state: State, starts: Tensor) -> Spans:
    """Step by step, as `Run` has it."""
    slots, (h, c, draws) = frames.spread(), state  # [T, B, S, D]
    keys = cell.key(slots).unflatten(-1, (cell.config.heads, -1))  # [T, B, S, H, key]
    values = cell.value(slots).unflatten(-1, (cell.config.heads, -1))  # [T, B, S, H, value]
    ticks = draws + torch.arange(len(slots), device=draws.device).unsqueeze(1)  # [T, B]
    outputs, masks, rows = [], [], []
    inputs = zip(keys.unbind(), values.unbind(), starts.unbind(), ticks.unbind(), strict=True)
    for key, value, start, tick in inputs:
        first = start[:, None, None]  # [B, 1, 1]
        h = torch.where(first, cell.start, h)  # [B, n, d]
        c = torch.where(first, 0.0, c)  # [B, n, d]
        h, c, mask, probabilities = cell.step(key, value, h, c, tick)
        outputs.append(h)
        masks.append(mask)
        rows.append(probabilities.detach())
    return torch.stack(outputs), (h, c), torch.stack(masks), torch.stack(rows)


def choose(order: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The mask bool [B, n] of the k largest, and the index of the next, [B, 1] or [B, 0]."""
    best = order.topk(min(k + 1, order.shape[1]), 1).indices  # [B, k + 1]
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, best[:, :k], True), best[:, k:]


def sparse(scores: Tensor, k: int, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax across modules, minus the (k+1)-th probability, normalised (Meta-RIMs, §2.1).

    From scores [B, n, H, S] and, unless the choice goes by attention, its order [B, n]: weights
    [B, n, H, S], the active modules [B, n], the distribution over modules [B, n].
    """
    probabilities = scores.softmax(1).mean((2, 3))  # [B, n]
    mask, runner_up = choose(probabilities if order is None else order, k)
    if order is None:
        threshold = probabilities.gather(1, runner_up).sum(1, keepdim=True)  # [B, 1]
    else:
        threshold = torch.zeros_like(probabilities[:, :1])  # [B, 1]
    excess = (probabilities - threshold) * mask  # [B, n]
    share = excess / (excess.sum(1, keepdim=True) + EPSILON)  # [B, n]
    return share[:, :, None, None] * scores.softmax(3), mask, probabilities


def null(scores: Tensor, k: int, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax over the slots and an empty one, whose score is 0 (RIMs v1); as `sparse`."""
    empty = torch.zeros_like(scores[..., :1])  # [B, n, H, 1]
    weights = torch.cat([scores, empty], 3).softmax(3)[..., :-1]  # [B, n, H, S]
    attended = weights.sum(3).mean(2).clamp_min(torch.finfo(weights.dtype).tiny)  # [B, n]
    mask, _ = choose(attended if order is None else order, k)
    return weights, mask, attended / attended.sum(1, keepdim=True)


ATTENTIONS = {"sparse": sparse, "null": null}


def lstm(from_input: Tensor, from_state: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Gates [B, n, 4·d] in the order input, forget, output, candidate, to h and c [B, n, d]."""
    i, f, o, candidate = (from_input + from_state).chunk(4, 2)  # [B, n, d]
    c = f.sigmoid() * c + i.sigmoid() * candidate.tanh()
    return o.sigmoid() * c.tanh(), c


def gru(from_input: Tensor, from_state: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Gates [B, n, 3·d] in the order reset, update, candidate, to h [B, n, d]; c is not used."""
    r, u, candidate = from_input.chunk(3, 2)  # [B, n, d]
    state_r, state_u, state_candidate = from_state.chunk(3, 2)
    u = (u + state_u).sigmoid()
    candidate = (candidate + (r + state_r).sigmoid() * state_candidate).tanh()
    return (1 - u) * candidate + u * h, c


DYNAMICS = {"lstm": lstm, "gru": gru}
GATES = {"lstm": 4, "gru": 3}  # rows of gate weights, per unit


def knock_out(config: RIMsConfig, mask: Tensor, tick: Tensor) -> Tensor:
    """The mask [B, n] of modules that are updated after all; what they read stays the same."""
    modules = torch.arange(config.modules, device=tick.device)
    mask = mask & (modules != config.disabled)
    if config.knock_out:
        lots = knock_out_lots(config, tick).masked_fill(~mask, torch.iinfo(torch.int64).min)
        mask = mask.scatter(1, lots.topk(config.knock_out, 1).indices, False)
    return mask


def _uniform(*shape: int, gain: float = 1.0) -> nn.Parameter:
    """Uniform in ±gain/√(last axis): `nn.Linear`'s own with gain 1, variance-preserving with √3."""
    return nn.Parameter(torch.empty(shape).uniform_(*_bounds(shape[-1], gain)))


def _bounds(inputs: int, gain: float) -> tuple[float, float]:
    return -gain / math.sqrt(inputs), gain / math.sqrt(inputs)
