"""What the agent sees and is told, as one vector: shared by every agent."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from metarims.protocols import Observation

TYPES, COLORS, STATES = 11, 6, 4  # of a cell, upstream's
TRAITS = TYPES + COLORS + STATES
HASH_BASE = 0x5851F42D4C957F2D


class Encoder(nn.Module):
    """Cells and mission to features.

    Each of the 49 cells of the view adds its own vector for its type, its color and its state (a
    linear layer on one-hot cells), at first of variance one, for the one cell that matters must not
    drown among walls; the mission scales and shifts the sum (FiLM, Perez et al. 2018).
    """

    def __init__(
        self, vocabulary: int, features: int = 128, width: int = 64, words: int = 32
    ) -> None:
        super().__init__()
        cells = 49
        self.cells = nn.Parameter(torch.randn(cells * TRAITS, width) / 3**0.5)
        self.words = nn.Embedding(vocabulary, words, padding_idx=0)
        self.instruction = nn.GRU(words, width)
        self.film = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, features)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Words that came after a checkpoint was written keep their first vectors."""
        name, own = f"{prefix}words.weight", self.words.weight.detach()
        if name in state and len(state[name]) < len(own):
            state[name] = torch.cat([state[name], own[len(state[name]) :].to(state[name])])
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, obs: Observation) -> Tensor:
        """Images uint8 [T, B, 7, 7, 3] and missions int16 [T, B, L] to features [T, B, D]."""
        image, mission = obs["image"], obs["mission"]
        seen: Tensor = _CellSum.apply(  # type: ignore[no-untyped-call]
            image.flatten(0, 1).flatten(1, 2), self.cells
        )
        scale, shift = self.film(self._told(mission.flatten(0, 1))).chunk(2, -1)
        x = torch.relu(seen * (1 + scale) + shift)
        return torch.relu(self.project(x)).view(*image.shape[:2], -1)

    def _told(self, mission: Tensor) -> Tensor:
        """The instruction's last state [N, width]; each different mission is read once."""
        powers = torch.full_like(mission[0], HASH_BASE, dtype=torch.int64).cumprod(0)
        keys, which = torch.unique((mission * powers).sum(1), return_inverse=True)
        rows = torch.arange(len(which), device=keys.device)
        different = mission[torch.empty_like(keys).scatter_(0, which, rows)]
        states: Tensor = self.instruction(self.words(different.T.int()))[0]  # [L, M, width]
        last = (different != 0).sum(1).clamp_min(1) - 1
        return states[last, torch.arange(len(last), device=last.device)][which]


class _CellSum(torch.autograd.Function):
    """The rows of a cell's traits, summed: cells uint8 [N, K, 3], table [K · TRAITS, E] to [N, E].

    Backward multiplies with the one-hot traits: torch's own backward scatters row after row, which
    takes ten times as long.
    """

    @staticmethod
    def forward(ctx: Any, cells: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(cells)
        firsts = torch.arange(cells.shape[1], device=cells.device).unsqueeze(1) * TRAITS
        offsets = firsts + torch.tensor([0, TYPES, TYPES + COLORS], device=cells.device)
        return F.embedding_bag((cells + offsets.int()).flatten(1), table, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (cells,) = ctx.saved_tensors
        type_, color, state = cells.int().unbind(-1)
        kind = (type_ * COLORS + color) * STATES + state
        hot = F.embedding(kind, _traits_of_kinds(gradient)).flatten(1)  # [N, K · TRAITS]
        return None, hot.T @ gradient


def _traits_of_kinds(like: Tensor) -> Tensor:
    """One-hot type, color and state side by side, for each combination of them."""
    types, colors, states = (torch.eye(count) for count in (TYPES, COLORS, STATES))
    table = torch.cat(
        [
            types.repeat_interleave(COLORS * STATES, 0),
            colors.repeat_interleave(STATES, 0).repeat(TYPES, 1),
            states.repeat(TYPES * COLORS, 1),
        ],
        1,
    )
    return table.to(like)
