"""The fused LSTM, on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from metarims.protocols import State

from ...frames import Frames
from ...kernels import fused_lstm

if TYPE_CHECKING:
    from .cell import LSTM


def run(
    cell: LSTM, frames: Frames, state: State, starts: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `agents.cores.lstm.cell.run_by_definition`."""
    z = frames.of_every(cell.input(frames.different))  # [T, B, 4·d]
    h, c = state
    outputs, last = fused_lstm.run(z, h, c, starts, cell.start, cell.hidden_weight)
    return outputs, (outputs[-1], last)
