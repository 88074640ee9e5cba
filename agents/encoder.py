"""What the agent sees, and its mission, as one vector: shared by every agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.errors import check_positive
from metarims.protocols import Observation

from .cells import Looks, look
from .missions import Instruction
from .places import weigh
from .views import CELLS, SYMBOLS, view_of

NEAR = slice(26, 28)  # the cell ahead of the agent, and its own, which shows what it carries


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Attributes:
        features: D, what it gives.
        cell: features of a cell.
        hidden: units of the layer that all cells and the mission go into.
        width: features of the mission.
        words: features of a word.
        slots: each cell of the view, and the mission, is an input of its own to attend to.
    """

    features: int = 128
    cell: int = 16
    hidden: int = 64
    width: int = 64
    words: int = 32
    slots: bool = False

    def __post_init__(self) -> None:
        check_positive(
            features=self.features,
            cell=self.cell,
            hidden=self.hidden,
            width=self.width,
            words=self.words,
        )

    def build(self, vocabulary: int, image: tuple[int, ...] = SYMBOLS) -> Encoder | SlotEncoder:
        """The encoder with fresh parameters, for missions of so many words and images of a shape:
        symbols [7, 7, 3] or pixels [7 T, 7 T, 3].
        """
        return (SlotEncoder if self.slots else Encoder)(self, vocabulary, image)


class Cells(nn.Module):
    """Every cell by itself, under the mission: its type, color and state, or the pixels of its
    picture, have a vector each, whose sum the mission scales and shifts.
    """

    def __init__(self, config: EncoderConfig, vocabulary: int, image: tuple[int, ...]) -> None:
        super().__init__()
        self.instruction = Instruction(vocabulary, config.words, config.width)
        self.view = view_of(image)
        self.traits = nn.Parameter(torch.randn(self.view.numbers, config.cell) / self.view.norm)
        self.film = nn.Linear(config.width, 2 * config.cell)

    def forward(self, obs: Observation) -> tuple[Tensor, Tensor, Looks]:
        """The different missions [M, width], which of them each is, int64 [T · B], and what `look`
        takes: cells, which, table, scale and shift.
        """
        different, which = self.instruction(obs["mission"].flatten(0, 1))
        scale, shift = self.film(different).chunk(2, 1)
        cells, descriptions = self.view(obs["image"].flatten(0, 1))
        table = descriptions.to(self.traits.dtype) @ self.traits
        return different, which, (cells, which, table, 1 + scale, shift)


class Encoder(nn.Module):
    """Cells and mission to features.

    Cells stay apart until each has passed under the mission. A layer then has weights for every
    place, others for the two that an agent acts on, and a third kind for what is anywhere.
    """

    def __init__(self, config: EncoderConfig, vocabulary: int, image: tuple[int, ...]) -> None:
        super().__init__()
        cell, hidden = config.cell, config.hidden
        self.cells = Cells(config, vocabulary, image)
        self.places = _orthogonal(CELLS * cell, hidden)
        self.near = nn.Linear((NEAR.stop - NEAR.start) * cell, hidden, bias=False)
        self.most = nn.Linear(cell, hidden, bias=False)
        self.mission = nn.Linear(config.width, hidden, bias=False)
        self.project = _orthogonal(hidden, config.features)

    def forward(self, obs: Observation) -> Tensor:
        """Images uint8 [T, B, ...] and missions int16 [T, B, L] to features [T, B, D]."""
        different, which, cells = self.cells(obs)
        cell = self.most.in_features
        around = NEAR.start * cell, (CELLS - NEAR.stop) * cell
        weight = self.places.weight + F.pad(self.near.weight, around)
        weighed, most = weigh(cells, weight)
        asked = self.mission(different) + self.places.bias
        x = torch.relu(weighed + self.most(most) + F.embedding(which, asked))
        return torch.relu(self.project(x)).view(*obs["image"].shape[:2], -1)


class SlotEncoder(nn.Module):
    """Cells and mission to slots, for modules that attend to what they need of them.

    A slot for each cell of the view, by what it is and where, and one for the mission.
    """

    def __init__(self, config: EncoderConfig, vocabulary: int, image: tuple[int, ...]) -> None:
        super().__init__()
        self.cells = Cells(config, vocabulary, image)
        self.project = nn.Linear(config.cell, config.features)
        self.places = nn.Parameter(torch.randn(CELLS, config.features) / 3**0.5)
        self.mission = nn.Linear(config.width, config.features)

    def forward(self, obs: Observation) -> Tensor:
        """Images uint8 [T, B, ...] and missions int16 [T, B, L] to slots [T, B, 50, D]."""
        different, which, cells = self.cells(obs)
        seen, _ = look(*cells)
        mission = F.embedding(which, self.mission(different)).unsqueeze(1)
        slots = torch.cat([self.project(seen) + self.places, mission], 1)
        return torch.relu(slots).view(*obs["image"].shape[:2], CELLS + 1, -1)


def _orthogonal(inputs: int, outputs: int) -> nn.Linear:
    """A layer before a rectifier, of a gain of √2."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, 2**0.5)
    nn.init.zeros_(layer.bias)
    return layer
