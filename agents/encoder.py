"""What the agent sees, and its mission, as one vector: shared by every agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.errors import check_positive
from metarims.protocols import Observation

from .cells import TRAITS, add_cells

CELLS = 49  # of the view
HASH_BASE = 0x5851F42D4C957F2D


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Attributes:
        features: D, what it gives.
        width: features of a cell's and the mission's vector.
        words: features of a word.
        cell_scale: how much a cell counts in the sum over cells at first; with 1 the sum has
            variance one, with 7 a single cell has.
        slots: each cell of the view, and the mission, is an input of its own to attend to.
    """

    features: int = 128
    width: int = 64
    words: int = 32
    cell_scale: float = 1.0
    slots: bool = False

    def __post_init__(self) -> None:
        check_positive(
            features=self.features, width=self.width, words=self.words, cell_scale=self.cell_scale
        )

    def build(self, vocabulary: int) -> Encoder | SlotEncoder:
        """The encoder with fresh parameters, for missions of so many words."""
        return (SlotEncoder if self.slots else Encoder)(self, vocabulary)


class Encoder(nn.Module):
    """Cells and mission to features.

    Each of the 49 cells of the view adds its own vector for its type, its color and its state (a
    linear layer on one-hot cells); the mission scales and shifts the sum (FiLM, Perez et al. 2018).
    """

    def __init__(self, config: EncoderConfig, vocabulary: int) -> None:
        super().__init__()
        width = config.width
        self.cells = _first_vectors(width, config.cell_scale / CELLS**0.5)
        self.instruction = Instruction(vocabulary, config.words, width)
        self.film = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, config.features)

    def forward(self, obs: Observation) -> Tensor:
        """Images uint8 [T, B, 7, 7, 3] and missions int16 [T, B, L] to features [T, B, D]."""
        image = obs["image"]
        seen = add_cells(_flat(image), self.cells)
        different, which = self.instruction(obs["mission"].flatten(0, 1))
        scale, shift = F.embedding(which, self.film(different)).chunk(2, -1)
        x = torch.relu(seen * (1 + scale) + shift)
        return torch.relu(self.project(x)).view(*image.shape[:2], -1)


class SlotEncoder(nn.Module):
    """Cells and mission to slots, for modules that attend to what they need of them.

    A slot for each cell of the view, by its place, type, color and state, and one for the mission.
    """

    def __init__(self, config: EncoderConfig, vocabulary: int) -> None:
        super().__init__()
        width = config.width
        self.cells = _first_vectors(width, 1.0)
        self.instruction = Instruction(vocabulary, config.words, width)
        self.project = nn.Linear(width, config.features)
        self.project_mission = nn.Linear(width, config.features)

    def forward(self, obs: Observation) -> Tensor:
        """Images uint8 [T, B, 7, 7, 3] and missions int16 [T, B, L] to slots [T, B, 50, D]."""
        image = obs["image"]
        seen = self.project(torch.relu(add_cells(_flat(image), self.cells, apart=True)))
        different, which = self.instruction(obs["mission"].flatten(0, 1))
        mission = F.embedding(which, self.project_mission(different))
        slots = torch.cat([seen, mission.unsqueeze(1)], 1)
        return torch.relu(slots).view(*image.shape[:2], CELLS + 1, -1)


class Instruction(nn.Module):
    """An LSTM over the mission's words, torch's own: on a CPU it is twice as fast as its GRU."""

    def __init__(self, vocabulary: int, words: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, words, padding_idx=0)
        self.lstm = nn.LSTM(words, width)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        """Words that came after a checkpoint was written keep their first vectors."""
        name, own = f"{prefix}words.weight", self.words.weight.detach()
        if name in state and len(state[name]) < len(own):
            state[name] = torch.cat([state[name], own[len(state[name]) :].to(state[name])])
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, mission: Tensor) -> tuple[Tensor, Tensor]:
        """Missions int16 [N, L] to the last state of each different one [M, width], and which of
        them each is, int64 [N].
        """
        powers = torch.full_like(mission[0], HASH_BASE, dtype=torch.int64).cumprod(0)
        keys, which = torch.unique((mission * powers).sum(1), return_inverse=True)
        rows = torch.arange(len(which), device=keys.device)
        different = mission[torch.empty_like(keys).scatter_(0, which, rows)]
        states: Tensor = self.lstm(self.words(different.T.int()))[0]  # [L, M, width]
        last = (different != 0).sum(1).clamp_min(1) - 1
        return states[last, torch.arange(len(last), device=last.device)], which


def _first_vectors(width: int, deviation: float) -> nn.Parameter:
    """For each cell's traits, [K · TRAITS, width], such that a cell's sum has that deviation."""
    return nn.Parameter(torch.randn(CELLS * TRAITS, width) * deviation / 3**0.5)


def _flat(image: Tensor) -> Tensor:
    """[T, B, 7, 7, 3] to [T · B, 49, 3]."""
    return image.flatten(0, 1).flatten(1, 2)
