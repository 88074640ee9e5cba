"""Recurrent Independent Mechanisms: modules that compete for the input and talk through attention.

Goyal et al. 2019 (arXiv:1909.10893) as used by Madan et al. 2021 (Meta-RIMs, §2.1). Inside, tensors
keep the batch last, ``[n, features, B]``: every mask and weight is then a broadcast over the
contiguous axis, and each product is one batched matrix product over the modules.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from metarims.protocols import Observation, State

from ..base import CoreOutput
from ..span import reset_rows, scramble
from .config import RIMsConfig
from .dynamics import DYNAMICS
from .reading import read_ahead_of
from .span import Span
from .weights import Weights


class RIMs(nn.Module):
    """The cell over a span of T steps; hidden state is argument and result.

    State: ``(h [B, n, d], c [B, n, d], draws int64 [B])``; c has width 0 for GRU dynamics, draws
    counts the steps, for what is drawn at random in each.
    """

    def __init__(self, config: RIMsConfig, inputs: int) -> None:
        super().__init__()
        self.config, self.outputs = config, config.modules * config.hidden
        n, d, gates = config.modules, config.hidden, DYNAMICS[config.dynamics].gates
        read = config.heads * config.value
        width = config.communication_heads * config.communication_key
        self.start = nn.Parameter(torch.randn(n, d) * 0.5)  # learnt: equal queries would tie
        # The active modules share the input, each gets about a k-th of it.
        self.input_weight = _uniform(n, gates * d, read, gain=config.active)
        self.hidden_weight = _uniform(n, gates * d, d)
        self.bias = nn.Parameter(torch.zeros(n, gates * d))
        self.query = _uniform(n, config.heads * config.key, d)
        self.query_bias = nn.Parameter(torch.randn(n, config.heads * config.key))
        self.key = nn.Linear(inputs, config.heads * config.key, bias=False)
        self.value = nn.Linear(inputs, read, bias=False)
        for projection in (self.key, self.value):
            nn.init.uniform_(projection.weight, *_bounds(inputs, math.sqrt(3)))
        self.communication = _uniform(n, 3 * width, d)
        self.communication_output = _uniform(n, d, width)

    def module_parameters(self) -> list[nn.Parameter]:
        """The dynamics of the modules and their first state: what the fast loop learns."""
        return [self.start, self.input_weight, self.hidden_weight, self.bias]

    def attention_parameters(self) -> list[nn.Parameter]:
        """Input and communication attention: what the slow loop learns."""
        reads = [*self.key.parameters(), *self.value.parameters()]
        return [self.query, self.query_bias, *reads, self.communication, self.communication_output]

    def initial_state(self, batch: int) -> State:
        """The learnt first state for `batch` environments, without gradient."""
        h = self.start.detach().expand(batch, -1, -1).clone()
        width = self.config.hidden if self.config.dynamics == "lstm" else 0
        c = h.new_zeros(batch, self.config.modules, width)
        draws = torch.arange(batch, dtype=torch.int64, device=h.device) << 32
        return h, c, draws

    def forward(self, x: Tensor, state: State, starts: Tensor, obs: Observation) -> CoreOutput:
        """Run a span.

        Args:
            x: [T, B, D], or slots [T, B, S, D].
            state: as `initial_state` gives it.
            starts: bool [T, B]; where true the state is reset before the step.

        Returns:
            The modules' states side by side [T, B, n·d], and as diagnostics ``module_mask`` bool
            [T, B, n] (who was active) and ``module_probabilities`` [T, B, n] (the attention's
            distribution over modules, summing to 1).
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
            read, values = read_ahead_of(reads, self.value.weight, slots.squeeze(2))
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
            self._scaled_communication(),
            self.communication_output,
        )
        resets = reset_rows(starts, x.dtype)
        outputs, last, mask, probabilities = Span.apply(  # type: ignore[no-untyped-call]
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
        diagnostics = {"module_mask": mask.mT, "module_probabilities": probabilities.mT}
        flat = outputs.permute(0, 3, 1, 2).flatten(2)
        return CoreOutput(flat, (h, last.permute(2, 0, 1), draws + len(x)), diagnostics)

    def _scaled_communication(self) -> Tensor:
        """With the queries' scale, e^-1/2, taken in ahead."""
        queries, others = self.communication.tensor_split([self.communication.shape[1] // 3], 1)
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


def _heads_first(x: Tensor, heads: int) -> Tensor:
    """[T, B, S, H·f] to [T, H, S, f, B]."""
    return x.view(*x.shape[:3], heads, -1).permute(0, 3, 2, 4, 1).contiguous()


def _uniform(*shape: int, gain: float = 1.0) -> nn.Parameter:
    """Uniform in ±gain/√(last axis); with 1 as torch's linear layers begin, with √3 of gain one."""
    return nn.Parameter(torch.empty(shape).uniform_(*_bounds(shape[-1], gain)))


def _bounds(inputs: int, gain: float) -> tuple[float, float]:
    return -gain / math.sqrt(inputs), gain / math.sqrt(inputs)
