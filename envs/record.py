"""The record: the whole state of one environment, as one flat NumPy structure.

A batch is an array of records over the memory of one ``uint8`` tensor. The grid comes last, so that
a batch of small levels allocates only the cells it needs: the stride is then smaller than the
structure, and nothing reads past a level's last cell.

``Record`` declares the fields: editors see their Python types, and the annotations define
``RECORD``, the NumPy dtype that compiled code sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Protocol, SupportsIndex, TypeAlias, TypeVar, get_type_hints, overload

import numpy as np

MAX_CELLS = 64 * 64  # the largest grid that a level may ask for
MAX_THINGS = 64  # objects with an identity; a set of them is a 64-bit mask
MAX_ROOMS = 16
MAX_ROOM_SIDE = 32  # reachability uses one 32-bit mask per row
MAX_WORDS = 72  # "put a T in front of you next to ... and ..., then ...": the longest sentence
MAX_LEAVES = 4

NOTHING = -1  # no thing, no position, no restriction

T = TypeVar("T")


class Row(Protocol[T]):
    """A field of several numbers, with the operations that compiled code may use."""

    size: int

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> T: ...

    @overload
    def __getitem__(self, at: slice, /) -> Row[T]: ...

    def __setitem__(self, at: SupportsIndex, value: T | int, /) -> None: ...

    def __iter__(self) -> Iterator[T]: ...


Int8: TypeAlias = Annotated[int, "i1"]
Int16: TypeAlias = Annotated[int, "i2"]
Int32: TypeAlias = Annotated[int, "i4"]
UInt8: TypeAlias = Annotated[int, "u1"]
UInt32: TypeAlias = Annotated[int, "u4"]
UInt64: TypeAlias = Annotated[np.uint64, "u8"]  # sets of things, random bits
Float64: TypeAlias = Annotated[float, "f8"]


class Record:
    """One environment's record as a rule sees it (never instantiated).

    Each field is annotated with its NumPy type and, for several numbers, their count.
    """

    # settings of the level
    done_mode: Int8
    full_width: Int16
    full_height: Int16
    step_limit: Int32  # 0: computed from the rooms and the instruction
    room_size: Int16
    room_rows: Int16
    room_columns: Int16
    # generation
    rejected: Int8
    unblocking: Int8  # keys to a locked door may not be the mission's object
    locked_room: Int16
    take_at_start: Int16  # a thing picked up after the first observation
    rejections: UInt32  # layouts rejected so far
    given_up: UInt32  # episodes for which no layout was found
    saved_high: UInt64
    saved_low: UInt64
    saved_half_word: Annotated[np.uint32, "u4"]
    saved_has_half_word: Int8
    # for levels with rules of their own
    mission_length: Int16
    target: Int32
    decoy: Int32
    mission: Annotated[Row[int], "u1", MAX_WORDS]
    # the instruction: two halves of at most two leaves each, two descriptions per leaf
    root_strict: Int8
    half_leaves: Annotated[Row[int], "i1", 2]
    half_status: Annotated[Row[int], "i1", 2]
    leaf_kind: Annotated[Row[int], "i1", MAX_LEAVES]
    leaf_strict: Annotated[Row[int], "i1", MAX_LEAVES]
    leaf_status: Annotated[Row[int], "i1", MAX_LEAVES]
    leaf_match: Annotated[Row[int], "i1", MAX_LEAVES]
    leaf_held: Annotated[Row[int], "i2", MAX_LEAVES]
    desc_type: Annotated[Row[int], "i1", 2 * MAX_LEAVES]
    desc_color: Annotated[Row[int], "i1", 2 * MAX_LEAVES]
    desc_place: Annotated[Row[int], "i1", 2 * MAX_LEAVES]
    desc_things: Annotated[Row[np.uint64], "u8", 2 * MAX_LEAVES]
    # things: objects with an identity
    thing_at: Annotated[Row[int], "i2", MAX_THINGS]  # cell index, NOTHING when off the grid
    thing_seen_at: Annotated[Row[int], "i2", MAX_THINGS]  # where the verifier last recorded it
    thing_inside: Annotated[Row[int], "i1", MAX_THINGS]  # the thing that a box holds
    thing_cell: Annotated[Row[int], "u1", MAX_THINGS]
    thing_listed: Annotated[Row[int], "i1", MAX_THINGS]  # is on its room's list of objects
    # rooms, while a layout is drawn; walls in the order right, down, left, up
    door_at: Annotated[Row[int], "i2", 4 * MAX_ROOMS]
    room_door: Annotated[Row[int], "i1", 4 * MAX_ROOMS]
    room_locked: Annotated[Row[int], "i1", MAX_ROOMS]
    room_box: Annotated[
        Row[int], "i2", 4 * MAX_ROOMS
    ]  # left, top, width and height where rooms vary
    room_entry: Annotated[Row[int], "i2", MAX_ROOMS]  # the cell of the door into such a room
    open_cells: Annotated[Row[np.uint32], "u4", MAX_ROOM_SIDE]
    reached: Annotated[Row[np.uint32], "u4", MAX_ROOM_SIDE]
    # the random stream: NumPy's PCG64
    rng_high: UInt64
    rng_low: UInt64
    increment_high: UInt64
    increment_low: UInt64
    half_word: Annotated[np.uint32, "u4"]
    has_half_word: Int8
    # what nearly every step accesses, next to the grid
    x: Int16
    y: Int16
    direction: Int16
    held: Int16  # the thing carried, or NOTHING
    width: Int16
    height: Int16
    steps: Int32
    max_steps: Int32
    things: Int16  # how many there are
    carrying: UInt8  # the cell that the agent carries, EMPTY if none
    see_through: Int8
    rule: Int8
    root: Int8  # how the instruction's halves are joined, 0 if there is none
    terminated: Int8
    truncated: Int8
    reward: Float64
    grid: Annotated[Row[int], "u1", MAX_CELLS]  # cell (x, y) at y * width + x


def dtype_of(record: type) -> np.dtype[np.void]:
    """The aligned dtype that a class's annotated fields describe, in their order."""
    hints = get_type_hints(record, include_extras=True)
    return np.dtype([(name, *hint.__metadata__) for name, hint in hints.items()], align=True)


RECORD = dtype_of(Record)

CARRYING_OFFSET = RECORD.fields["carrying"][1]  # type: ignore[index]
GRID_OFFSET = RECORD.fields["grid"][1]  # type: ignore[index]
MISSION_OFFSET = RECORD.fields["mission"][1]  # type: ignore[index]
X_OFFSET = RECORD.fields["x"][1]  # type: ignore[index]  # y follows


def record_bytes(cells: int) -> int:
    """Bytes of one environment with a grid of ``cells`` cells, a multiple of 8."""
    return (GRID_OFFSET + cells + 7) // 8 * 8


def view_records(memory: np.ndarray, count: int, size: int) -> np.ndarray:
    """``count`` records over ``uint8`` memory, ``size`` bytes apart.

    The memory must extend one whole ``RECORD`` past the start of the last one.
    """
    return np.ndarray((count,), dtype=RECORD, buffer=memory.data, strides=(size,))
