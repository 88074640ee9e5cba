"""The forms that the cell has, and which of them it runs by on its device."""

from __future__ import annotations

from torch import Tensor

from metarims.protocols import State

from ...frames import Frames
from ...kernels.compiling import has_fused, has_kernels
from ..span import check_shape
from . import compiled
from .cell import RIMs, Run, Spans, run_by_definition


def run(cell: RIMs, frames: Frames, state: State, starts: Tensor) -> Spans:
    """As `agents.cores.rims.cell.Run`, by the fastest form available."""
    _check(cell, frames, state, starts)
    return find_form(cell)[1](cell, frames, state, starts)


def find_form(cell: RIMs) -> tuple[str, Run]:
    """The fastest form available: its name and function."""
    if cell.run is run and has_kernels(cell.start):
        return "compiled", compiled.run
    if cell.run is run and has_fused(cell.start):
        from . import fused  # needs Triton

        if fused.covers(cell.config):
            return "fused (several slots by their definition)", fused.run
    return "by their definition", run_by_definition


def _check(cell: RIMs, frames: Frames, state: State, starts: Tensor) -> None:
    """Refuse what a core of one's own may have given in another shape."""
    (h, c, draws), batch = state, starts.shape[1]
    check_shape("the RIMs' starts [T, B]", starts, *frames.which.shape)
    check_shape("the RIMs' h [B, n, d]", h, batch, *cell.start.shape)
    check_shape("the RIMs' c", c, batch, *cell.config.cell_shape)
    check_shape("the RIMs' draws [B]", draws, batch)
