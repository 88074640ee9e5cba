"""Cells: a byte indexes tables of upstream's (type, color, state) and of what the cell allows."""

from __future__ import annotations

from typing import cast

import numpy as np
from minigrid.core.constants import COLOR_NAMES, COLOR_TO_IDX, OBJECT_TO_IDX

from .record import Row

# Types and colors carry upstream's indices.
_types_by_name: dict[str, int] = OBJECT_TO_IDX
_colors_by_name: dict[str, int] = COLOR_TO_IDX
WALL_TYPE, FLOOR_TYPE, DOOR_TYPE = (_types_by_name[n] for n in ("wall", "floor", "door"))
KEY_TYPE, BALL_TYPE, BOX_TYPE = (_types_by_name[n] for n in ("key", "ball", "box"))
GOAL_TYPE, LAVA_TYPE = _types_by_name["goal"], _types_by_name["lava"]
RED, GREEN, BLUE, PURPLE, YELLOW, GREY = (
    _colors_by_name[n] for n in ("red", "green", "blue", "purple", "yellow", "grey")
)
COLORS = len(COLOR_TO_IDX)
# the order of random draws
ALPHABETICAL = cast(Row[int], np.array([COLOR_TO_IDX[n] for n in COLOR_NAMES], np.int8))

OPEN, CLOSED, LOCKED = 0, 1, 2

# One block of ids per kind: add a color, and for doors 6 times a state.
# What blocks the view lies from CLOSED_DOOR up to KEY, exclusive.
UNSEEN, EMPTY = 0, 1
FLOOR = 2
DOOR = FLOOR + COLORS
WALLS = DOOR + 3 * COLORS
KEY = WALLS + COLORS
BALL = KEY + COLORS
BOX = BALL + COLORS
GOALS = BOX + COLORS
LAVA = GOALS + COLORS
CELLS = LAVA + 1

WALL = WALLS + GREY
GOAL = GOALS + GREEN
OPEN_DOOR, CLOSED_DOOR, LOCKED_DOOR = (DOOR + COLORS * s for s in (OPEN, CLOSED, LOCKED))


def _encodings() -> list[tuple[int, int, int]]:
    rows = [(OBJECT_TO_IDX["unseen"], 0, 0), (OBJECT_TO_IDX["empty"], 0, 0)]
    rows += [(FLOOR_TYPE, color, 0) for color in range(COLORS)]
    rows += [(DOOR_TYPE, c, state) for state in (OPEN, CLOSED, LOCKED) for c in range(COLORS)]
    for kind in (WALL_TYPE, KEY_TYPE, BALL_TYPE, BOX_TYPE, GOAL_TYPE):
        rows += [(kind, color, 0) for color in range(COLORS)]
    return [*rows, (LAVA_TYPE, RED, 0)]


ENCODING = np.array(_encodings(), np.uint8)  # [CELLS, 3]: type, color, state
_types, _colors, _states = ENCODING.astype(np.int8).T.copy()
TYPE, COLOR = cast(Row[int], _types), cast(Row[int], _colors)

CAN_OVERLAP = (
    np.isin(_types, [OBJECT_TO_IDX["empty"], FLOOR_TYPE, GOAL_TYPE, LAVA_TYPE])
    | ((_types == DOOR_TYPE) & (_states == OPEN))
).astype(np.int8)
CAN_PICK_UP = np.isin(_types, [KEY_TYPE, BALL_TYPE, BOX_TYPE]).astype(np.int8)

CELL_OF = {tuple(int(v) for v in row): cell for cell, row in enumerate(ENCODING)}
