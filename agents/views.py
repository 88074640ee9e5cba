"""The view's cells and their descriptions: symbols by their traits, tiles by their pixels.

A view gives each cell's kind, and describes each kind once, by numbers. A cell's vector is a learnt
linear function of these: a vector for each trait, or for each pixel of a tile.
"""

from __future__ import annotations

from torch import Tensor, nn

from metarims.errors import UsageError

from .cells import TRAITS, traits_of_codes
from .frames import find_different

SIDE = 7  # cells to a side of the view, by default and in pixels
SYMBOLS = (SIDE, SIDE, 3)  # the shape of an image of types, colors and states, by default

BACKGROUND, BACKGROUND_SCALE = slice(4), 0.2  # unseen, empty, wall, floor: most cells
LIGHT = 0.1  # about the mean square of pixels from 0 to 1

Described = tuple[Tensor, Tensor]  # each cell's kind, and each kind's description [M, numbers]


def view_of(image_shape: tuple[int, ...]) -> Symbols | Tiles:
    """The view for images of that shape, symbols if its sides are odd; `UsageError` if there is
    none.
    """
    side = image_shape[0]
    symbols = image_shape == (side, side, 3) and side % 2 and side > 1
    return Symbols(side) if symbols else Tiles(image_shape)


def near(side: int) -> slice:
    """The cell ahead of the agent, and its own, which shows what it carries; cell (x, y) of a view
    has index side · x + y.
    """
    own = side * (side // 2) + side - 1
    return slice(own - 1, own + 1)


class Symbols(nn.Module):
    """Cells as types, colors and states; descriptions are traits, smaller for background.

    Args:
        side: V, of the view in cells, odd.
    """

    descriptions: Tensor
    numbers = TRAITS
    norm = 3**0.5  # of a description: a one each for type, color and state

    def __init__(self, side: int = SIDE) -> None:
        super().__init__()
        self.cells, self.near = side**2, near(side)
        traits = traits_of_codes()
        traits[traits[:, BACKGROUND].any(1)] *= BACKGROUND_SCALE
        self.register_buffer("descriptions", traits, persistent=False)

    def forward(self, image: Tensor) -> Described:
        """Images uint8 [N, V, V, 3] to cells uint8 [N, V², 3] and the descriptions of all codes."""
        return image.flatten(1, 2), self.descriptions


class Tiles(nn.Module):
    """Cells as tiles of pixels; a description is a tile's pixels.

    It knows where tiles begin, but nothing of types, colors and states. Equal cells are drawn as
    equal tiles, so each distinct tile is described only once.

    Pixels are scaled for descriptions with a norm of about 1. In [0, 1] they would have norms of 4
    and more, and each step of Adam changed vectors more: DoorKey-5x5 then takes longer to learn.

    Args:
        image_shape: [7 T, 7 T, 3], T a multiple of 4.

    Raises:
        UsageError: for any other shape.
    """

    norm = 1.0
    cells, near = SIDE**2, near(SIDE)

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.side = image_shape[0] // SIDE
        self.numbers = 3 * self.side**2
        self.white = 255 * (LIGHT * self.numbers) ** 0.5
        if image_shape != (SIDE * self.side,) * 2 + (3,) or self.side % 4:
            raise UsageError(
                f"agents need the view: symbols, or {SIDE} x {SIDE} cells with a multiple of 4 "
                f"pixels per side, got images {list(image_shape)}"
            )

    def forward(self, image: Tensor) -> Described:
        """Images uint8 [N, 7 T, 7 T, 3], top row first, to the number of each cell's tile,
        int64 [N, 49], and the distinct tiles' pixels, scaled, [M, 3 T²].
        """
        tiles = self.cut(image)
        which, examples = find_different(tiles)
        return which.view(-1, self.cells), tiles[examples] / self.white

    def cut(self, image: Tensor) -> Tensor:
        """Images to their tiles, uint8 [49 N, 3 T²], in the order of cells."""
        grid = image.reshape(-1, SIDE, self.side, SIDE, 3 * self.side)  # [N, y, rows, x, pixels]
        return grid.permute(0, 3, 1, 2, 4).reshape(-1, self.numbers)
