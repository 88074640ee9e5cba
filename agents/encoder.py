"""The encoder that all agents share: the view and the mission as one vector, or as slots."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.errors import check_positive
from metarims.protocols import Observation

from .cells import look, of_each
from .frames import Frames, Memory
from .kernels.compiling import has_kernels
from .missions import Instruction, single
from .views import SYMBOLS, view_of


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Attributes:
        features: D, features of the output, or of each slot.
        cell: features of a cell.
        hidden: units of the layer that combines all cells and the mission; not used with slots.
        width: features of the mission.
        words: features of a word.
        slots: make each cell of the view, and the mission, a separate slot to attend to.
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

    def build(
        self, vocabulary: int, image: tuple[int, ...] = SYMBOLS, one_mission: bool = False
    ) -> Encoder | SlotEncoder:
        """The encoder with fresh parameters.

        Args:
            vocabulary: number of words.
            image: shape of the images, symbols [V, V, 3] with V odd, or pixels [7 T, 7 T, 3].
            one_mission: whether all frames have the same mission.
        """
        encoder = (SlotEncoder if self.slots else Encoder)(self, vocabulary, image)
        encoder.one_mission = one_mission
        return encoder


class Cells(nn.Module):
    """Each cell on its own, under the mission: its type, color and state, or its pixels, have a
    vector each, whose sum the mission scales and shifts.
    """

    def __init__(self, config: EncoderConfig, vocabulary: int, image: tuple[int, ...]) -> None:
        super().__init__()
        self.instruction = Instruction(vocabulary, config.words, config.width)
        self.view = view_of(image)
        self.traits = nn.Parameter(torch.randn(self.view.numbers, config.cell) / self.view.norm)
        self.film = nn.Linear(config.width, 2 * config.cell)

    def ask(self, mission: Tensor) -> tuple[Tensor, Tensor]:
        """Missions int16 [M, L] encoded, [M, width], and the scale and shift of each, [M, 2 C]."""
        read = self.instruction(mission)
        return read, self.film(read)

    def forward(self, image: Tensor, which: Tensor, film: Tensor) -> Tensor:
        """Images uint8 [N, ...], each under mission `which` int64 [N], to vectors of the cells and
        their maximum, [N, V² + 1, C].
        """
        scale, shift = film.chunk(2, 1)
        cells, descriptions = self.view(image)
        table = descriptions.to(self.traits.dtype) @ self.traits
        return look(cells, which, table, 1 + scale, shift)


class Once(nn.Module):
    """Encodes equal frames only once, among those given and those in a memory. On a GPU, where
    finding equal frames would synchronise, only a mission that all frames share is encoded once.
    """

    one_mission = False

    def ask(self, mission: Tensor) -> Tensor:
        """Missions int16 [M, L] to all that `see` needs of each, [M, E]."""
        raise NotImplementedError

    def see(self, image: Tensor, which: Tensor, asked: Tensor) -> Tensor:
        """Encode images uint8 [N, ...], each under mission `which` int64 [N]."""
        raise NotImplementedError

    def forward(self, obs: Observation, memory: Memory | None = None) -> Frames:
        """Encode images uint8 [T, B, ...], missions int16 [T, B, L]; no gradients with a memory."""
        shape = obs["image"].shape[:2]
        image, mission = obs["image"].flatten(0, 1), obs["mission"].flatten(0, 1)
        if not has_kernels(image):
            each = torch.arange(len(mission), device=mission.device)
            asked = self.ask(single(mission) if self.one_mission else mission)
            return Frames.of(self.see(image, each, asked), shape)
        memory = Memory() if memory is None else memory
        memory.make_room(image, mission)

        def make(new: Tensor) -> Tensor:
            some = mission.index_select(0, new)
            asked, whose = memory.missions.recall(some, None, lambda first: self.ask(some[first]))
            return self.see(image.index_select(0, new), whose, asked)

        made, which = memory.images.recall(image, mission, make)
        if len(made) > len(which):
            return Frames.of(made.index_select(0, which), shape)
        return Frames(made, which.view(shape))


class Encoder(Once):
    """Cells and mission to features.

    The mission first scales and shifts each cell on its own. One layer then combines them, with
    weights for every position, others for the two cells an agent acts on and for the maximum.
    """

    def __init__(self, config: EncoderConfig, vocabulary: int, image: tuple[int, ...]) -> None:
        super().__init__()
        cell, hidden = config.cell, config.hidden
        self.cells = Cells(config, vocabulary, image)
        self.places = _orthogonal(self.cells.view.cells * cell, hidden)
        self.near = nn.Linear(2 * cell, hidden, bias=False)
        self.most = nn.Linear(cell, hidden, bias=False)
        self.mission = nn.Linear(config.width, hidden, bias=False)
        self.project = _orthogonal(hidden, config.features)

    def ask(self, mission: Tensor) -> Tensor:
        """Missions int16 [M, L] to scales, shifts and terms to add, [M, 2 C + H]."""
        read, film = self.cells.ask(mission)
        return torch.cat([film, self.mission(read) + self.places.bias], 1)

    def see(self, image: Tensor, which: Tensor, asked: Tensor) -> Tensor:
        """Images uint8 [N, ...], each under mission `which` int64 [N], to features [N, D]."""
        film, added = asked.split([self.cells.film.out_features, self.mission.out_features], 1)
        seen = self.cells(image, which, film)
        placed = F.linear(seen[:, :-1].flatten(1), self.places.weight)
        placed = (
            placed + self.near(seen[:, self.cells.view.near].flatten(1)) + self.most(seen[:, -1])
        )
        x = torch.relu(placed + of_each(added, which))
        return torch.relu(self.project(x))


class SlotEncoder(Once):
    """Cells and mission to slots, for modules that attend to what they need.

    There is a slot for each cell of the view, by content and position, and one for the mission.
    """

    def __init__(self, config: EncoderConfig, vocabulary: int, image: tuple[int, ...]) -> None:
        super().__init__()
        self.cells = Cells(config, vocabulary, image)
        self.project = nn.Linear(config.cell, config.features)
        self.places = nn.Parameter(torch.randn(self.cells.view.cells, config.features) / 3**0.5)
        self.mission = nn.Linear(config.width, config.features)

    def ask(self, mission: Tensor) -> Tensor:
        """Missions int16 [M, L] to scales, shifts and their own slots, [M, 2 C + D]."""
        read, film = self.cells.ask(mission)
        return torch.cat([film, self.mission(read)], 1)

    def see(self, image: Tensor, which: Tensor, asked: Tensor) -> Tensor:
        """Images uint8 [N, ...], each under mission `which` int64 [N], to slots [N, V² + 1, D]."""
        film, own = asked.split([self.cells.film.out_features, self.mission.out_features], 1)
        seen = self.cells(image, which, film)[:, :-1]
        mission = of_each(own, which).unsqueeze(1)
        return torch.relu(torch.cat([self.project(seen) + self.places, mission], 1))


def _orthogonal(inputs: int, outputs: int) -> nn.Linear:
    """An orthogonally initialised layer for a ReLU after it: gain √2."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, 2**0.5)
    nn.init.zeros_(layer.bias)
    return layer
