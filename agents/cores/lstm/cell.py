"""An LSTM whose state is reset within a span: settings and definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from metarims.errors import check_positive
from metarims.protocols import Observation, Spec, State
from metarims.registry import register

from ...frames import Frames, as_frames
from ...kernels.compiling import has_fused, has_kernels
from ..base import CoreConfig, CoreOutput
from ..span import check_shape
from . import compiled


@register("core", "lstm")
@dataclass(frozen=True)
class LSTMConfig(CoreConfig):
    """The LSTM's size.

    Attributes:
        hidden: d, number of units.
    """

    takes_frames: ClassVar[bool] = True

    hidden: int = 96

    def __post_init__(self) -> None:
        check_positive(hidden=self.hidden)

    def build(self, inputs: int, spec: Spec, levels: Sequence[str]) -> LSTM:
        """As `CoreConfig.build`."""
        return LSTM(inputs, self.hidden)


class LSTM(nn.Module):
    """One LSTM over a span of T steps, with a learnt initial state; state is passed in and out.

    State: ``(h [B, d], c [B, d])``.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.outputs = hidden
        bound = 1 / math.sqrt(hidden)
        self.start = nn.Parameter(torch.zeros(hidden))
        self.input = nn.Linear(inputs, 4 * hidden)
        self.hidden_weight = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.input.bias[hidden : 2 * hidden] += 1.0  # remember at first (Gers et al. 2000)

    @property
    def form(self) -> str:
        """The form that it runs by here."""
        return f"LSTM {find_form(self)[0]}"

    def module_parameters(self) -> list[nn.Parameter]:
        """All of them: an LSTM is one module."""
        return list(self.parameters())

    def attention_parameters(self) -> list[nn.Parameter]:
        """None: an LSTM attends to nothing."""
        return []

    def initial_state(self, batch: int) -> State:
        """The learnt initial state for `batch` environments, without gradient."""
        h = self.start.detach().expand(batch, -1).clone()
        return h, torch.zeros_like(h)

    def forward(
        self, x: Tensor | Frames, state: State, starts: Tensor, obs: Observation
    ) -> CoreOutput:
        """Run a span: x [T, B, D], starts bool [T, B] to features [T, B, d]."""
        frames = as_frames(x)
        self._check(frames, state, starts)
        _, run = find_form(self)
        outputs, last = run(self, frames, state, starts)
        return CoreOutput(outputs, last)

    def _check(self, frames: Frames, state: State, starts: Tensor) -> None:
        """Refuse what a core of one's own may have given in another shape."""
        given, batch = frames.different, starts.shape[1]
        check_shape("the LSTM's input [frames, D]", given, len(given), self.input.in_features)
        check_shape("the LSTM's starts [T, B]", starts, *frames.which.shape)
        for name, each in zip("hc", state, strict=True):
            check_shape(f"the LSTM's {name} [B, d]", each, batch, self.outputs)


# Runs a span from a state, with starts bool [T, B]: h after each step [T, B, d], last h and c.
Run = Callable[[LSTM, Frames, State, Tensor], tuple[Tensor, tuple[Tensor, Tensor]]]


def find_form(cell: LSTM) -> tuple[str, Run]:
    """The fastest form on the cell's device: its name and function."""
    if has_kernels(cell.start):
        return "compiled", compiled.run
    if has_fused(cell.start):
        from . import fused  # needs Triton

        return "fused", fused.run
    return "by its definition", run_by_definition


def run_by_definition(
    cell: LSTM, frames: Frames, state: State, starts: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Step by step: h after each step [T, B, d], and the last h and c [B, d]."""
    h, c = state
    x, outputs = frames.spread(), []
    for from_input, start in zip(cell.input(x).unbind(), starts.unsqueeze(2).unbind(), strict=True):
        h, c = torch.where(start, cell.start, h), torch.where(start, 0.0, c)  # [B, d]
        i, f, o, candidate = (from_input + h @ cell.hidden_weight.T).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * candidate.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), (h, c)
