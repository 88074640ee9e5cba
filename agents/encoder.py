"""What the agent sees, and its mission, as one vector: shared by every agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.errors import check_positive
from metarims.protocols import Observation

from .cells import look
from .views import CELLS, SYMBOLS, find_different, view_of

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

    def forward(self, obs: Observation) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Vectors of cells [T · B, 49, C] and their largest numbers [T · B, C], the different
        missions [M, width], and which of them each is, int64 [T · B].
        """
        different, which = self.instruction(obs["mission"].flatten(0, 1))
        scale, shift = self.film(different).chunk(2, 1)
        cells, descriptions = self.view(obs["image"].flatten(0, 1))
        table = descriptions.to(self.traits.dtype) @ self.traits
        seen, most = look(cells, which, table, 1 + scale, shift)
        return seen, most, different, which


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
        seen, most, different, which = self.cells(obs)
        cell = seen.shape[2]
        around = NEAR.start * cell, (CELLS - NEAR.stop) * cell
        weight = self.places.weight + F.pad(self.near.weight, around)
        x = F.linear(seen.flatten(1), weight, self.places.bias) + self.most(most)
        x = torch.relu(x + F.embedding(which, self.mission(different)))
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
        seen, _, different, which = self.cells(obs)
        mission = F.embedding(which, self.mission(different)).unsqueeze(1)
        slots = torch.cat([self.project(seen) + self.places, mission], 1)
        return torch.relu(slots).view(*obs["image"].shape[:2], CELLS + 1, -1)


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
        which, examples = find_different(mission)
        different = mission[examples]
        states: Tensor = self.lstm(self.words(different.T.int()))[0]  # [L, M, width]
        last = (different != 0).sum(1).clamp_min(1) - 1
        return states[last, torch.arange(len(last), device=last.device)], which


def _orthogonal(inputs: int, outputs: int) -> nn.Linear:
    """A layer before a rectifier, of a gain of √2."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, 2**0.5)
    nn.init.zeros_(layer.bias)
    return layer
