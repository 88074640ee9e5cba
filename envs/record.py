"""The record: everything that one environment is, as one flat NumPy structure.

A batch is an array of records over the memory of one ``uint8`` tensor. The grid comes last, so that
a batch of small levels allots only the cells it needs: records then lie closer together than the
full structure's size, and nobody reads past a level's last cell.
"""

from __future__ import annotations

import numpy as np

MAX_CELLS = 64 * 64  # the largest grid that a level may ask for
MAX_THINGS = 64  # objects with an identity; a set of them is one 64-bit mask
MAX_ROOMS = 16
MAX_ROOM_SIDE = 32  # reachability keeps one 32-bit mask a row
MAX_WORDS = 72  # "put a T in front of you next to ... and ..., then ...": the longest sentence
MAX_LEAVES = 4

NOTHING = -1  # no thing, no position, no restriction

RECORD = np.dtype(
    [
        # what the level fixes once
        ("done_mode", "i1"),
        ("full_width", "i2"),
        ("full_height", "i2"),
        ("step_limit", "i4"),  # 0: computed from the rooms and the instruction
        ("room_size", "i2"),
        ("room_rows", "i2"),
        ("room_columns", "i2"),
        # generation
        ("rejected", "i1"),
        ("unblocking", "i1"),  # keys that open a locked door may not be the mission's object
        ("locked_room", "i2"),
        ("take_at_start", "i2"),  # a thing taken in hand after the first observation
        ("rejections", "u4"),  # layouts thrown away since the stream was seeded
        ("given_up", "u4"),  # episodes for which no layout was found
        ("saved_high", "u8"),
        ("saved_low", "u8"),
        ("saved_half_word", "u4"),
        ("saved_has_half_word", "i1"),
        # rules of a level's own
        ("mission_length", "i2"),
        ("target", "i4"),
        ("decoy", "i4"),
        ("mission", "u1", (MAX_WORDS,)),
        # the instruction: two halves of at most two leaves each, two descriptions a leaf
        ("root_strict", "i1"),
        ("half_leaves", "i1", (2,)),
        ("half_status", "i1", (2,)),
        ("leaf_kind", "i1", (MAX_LEAVES,)),
        ("leaf_strict", "i1", (MAX_LEAVES,)),
        ("leaf_status", "i1", (MAX_LEAVES,)),
        ("leaf_match", "i1", (MAX_LEAVES,)),
        ("leaf_held", "i2", (MAX_LEAVES,)),
        ("desc_type", "i1", (2 * MAX_LEAVES,)),
        ("desc_color", "i1", (2 * MAX_LEAVES,)),
        ("desc_place", "i1", (2 * MAX_LEAVES,)),
        ("desc_things", "u8", (2 * MAX_LEAVES,)),
        # things: objects with an identity
        ("thing_at", "i2", (MAX_THINGS,)),  # cell index, NOTHING when off the grid
        ("thing_seen_at", "i2", (MAX_THINGS,)),  # where the verifier last looked
        ("thing_inside", "i1", (MAX_THINGS,)),  # the thing that a box holds
        ("thing_cell", "u1", (MAX_THINGS,)),
        ("thing_listed", "i1", (MAX_THINGS,)),  # stands on its room's list of objects
        # rooms, while a layout is drawn; walls in the order right, down, left, up
        ("door_at", "i2", (4 * MAX_ROOMS,)),
        ("room_door", "i1", (4 * MAX_ROOMS,)),
        ("room_locked", "i1", (MAX_ROOMS,)),
        ("room_box", "i2", (4 * MAX_ROOMS,)),  # left, top, width and height where rooms vary
        ("room_entry", "i2", (MAX_ROOMS,)),  # where the door into such a room is
        ("open_cells", "u4", (MAX_ROOM_SIDE,)),
        ("reached", "u4", (MAX_ROOM_SIDE,)),
        # the random stream: NumPy's PCG64
        ("rng_high", "u8"),
        ("rng_low", "u8"),
        ("increment_high", "u8"),
        ("increment_low", "u8"),
        ("half_word", "u4"),
        ("has_half_word", "i1"),
        # what nearly every step touches, next to the grid
        ("x", "i2"),
        ("y", "i2"),
        ("direction", "i2"),
        ("held", "i2"),  # the thing carried, or NOTHING
        ("width", "i2"),
        ("height", "i2"),
        ("steps", "i4"),
        ("max_steps", "i4"),
        ("things", "i2"),  # how many there are
        ("carrying", "u1"),  # the cell that the agent carries, EMPTY if none
        ("see_through", "i1"),
        ("rule", "i1"),
        ("root", "i1"),  # how the instruction's halves are joined, 0 if there is none
        ("terminated", "i1"),
        ("truncated", "i1"),
        ("reward", "f8"),
        ("grid", "u1", (MAX_CELLS,)),  # cell (x, y) at y * width + x
    ],
    align=True,
)

GRID_OFFSET = RECORD.fields["grid"][1]  # type: ignore[index]
MISSION_OFFSET = RECORD.fields["mission"][1]  # type: ignore[index]


def record_bytes(cells: int) -> int:
    """Bytes that one environment with a grid of ``cells`` cells takes, a multiple of 8."""
    return (GRID_OFFSET + cells + 7) // 8 * 8


def view_records(memory: np.ndarray, count: int, size: int) -> np.ndarray:
    """``count`` records over ``uint8`` memory, ``size`` bytes apart.

    The memory must reach one whole ``RECORD`` past the start of the last one.
    """
    return np.ndarray((count,), dtype=RECORD, buffer=memory.data, strides=(size,))
