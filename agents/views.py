"""The cells of the view by what describes them: symbols by their traits, tiles by their pixels.

A view tells which cells are alike and describes each kind once, by numbers. What a cell is to the
agent is a linear function of these, learnt: a vector for each trait, or for each pixel of a tile.
"""

from __future__ import annotations

from torch import Tensor, nn

from metarims.errors import UsageError

from .cells import TRAITS, traits_of_codes
from .frames import find_different

SIDE = 7  # cells of the view's side
CELLS = SIDE**2  # the cell at (x, y) at 7 x + y
SYMBOLS = (SIDE, SIDE, 3)  # the shape of an image of types, colors and states

BACKGROUND, BACKGROUND_SCALE = slice(4), 0.2  # unseen, empty, wall, floor: they are everywhere
LIGHT = 0.1  # the mean square of pixels from 0 to 1, about

Described = tuple[Tensor, Tensor]  # what each cell is, and a description of each kind [M, numbers]


def view_of(image_shape: tuple[int, ...]) -> Symbols | Tiles:
    """What describes the cells of such images; `UsageError` if nothing does."""
    return Symbols() if image_shape == SYMBOLS else Tiles(image_shape)


class Symbols(nn.Module):
    """Cells as types, colors and states, whose traits are ones in a description."""

    descriptions: Tensor
    numbers = TRAITS
    norm = 3**0.5  # of a description: ones for a type, a color and a state

    def __init__(self) -> None:
        super().__init__()
        traits = traits_of_codes()
        traits[traits[:, BACKGROUND].any(1)] *= BACKGROUND_SCALE
        self.register_buffer("descriptions", traits, persistent=False)

    def forward(self, image: Tensor) -> Described:
        """Images uint8 [N, 7, 7, 3] to cells uint8 [N, 49, 3] and the descriptions of all codes."""
        return image.flatten(1, 2), self.descriptions


class Tiles(nn.Module):
    """Cells as tiles of pixels, which are all that a description has.

    It knows where one tile ends and the next begins, and nothing of types, colors and states. Tiles
    are drawn alike where cells are alike, so each different one is described, and read, only once.

    Pixels are scaled for descriptions of a norm about 1. From 0 to 1 they have one of 4 and more,
    by which vectors go further with every step of Adam's: DoorKey-5x5 then takes longer to learn.

    Args:
        image_shape: [7 T, 7 T, 3], T a multiple of 4.

    Raises:
        UsageError: it is another one.
    """

    norm = 1.0

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.side = image_shape[0] // SIDE
        self.numbers = 3 * self.side**2
        self.white = 255 * (LIGHT * self.numbers) ** 0.5
        if image_shape != (SIDE * self.side,) * 2 + (3,) or self.side % 4:
            raise UsageError(
                f"agents see {SIDE} x {SIDE} cells, as symbols or in pixels, a multiple of 4 to "
                f"the side of each, got images {list(image_shape)}"
            )

    def forward(self, image: Tensor) -> Described:
        """Images uint8 [N, 7 T, 7 T, 3], of rows from above, to the number of each cell's tile,
        int64 [N, 49], and the different tiles' pixels, scaled, [M, 3 T²].
        """
        tiles = self.cut(image)
        which, examples = find_different(tiles)
        return which.view(-1, CELLS), tiles[examples] / self.white

    def cut(self, image: Tensor) -> Tensor:
        """Images to their tiles, uint8 [49 N, 3 T²], in the order of cells."""
        grid = image.reshape(-1, SIDE, self.side, SIDE, 3 * self.side)  # [N, y, rows, x, pixels]
        return grid.permute(0, 3, 1, 2, 4).reshape(-1, self.numbers)
