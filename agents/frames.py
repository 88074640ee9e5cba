"""Frames that are alike: what an agent sees twice is worked out once.

Agents stand still, turn on the spot and walk the same rooms: of a minibatch's frames a tenth
(DoorKey) to two fifths (GoToLocal) differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import carray
from torch import Tensor
from torch.nn.functional import pad

from .kernels.compiling import has_kernels, inlined, kernel, type_of
from .kernels.lanes import numbers
from .kernels.tiles import padding

PRIME = 0x5851F42D4C957F2D
ROOM = 2048  # frames that are remembered


@dataclass(frozen=True)
class Frames:
    """Features of T steps of B environments, those of frames that are alike once.

    Attributes:
        different: [M, D], or slots [M, S, D].
        which: int64 [T, B], of the different ones.
        each: whether every frame is taken for another one, in their order.
    """

    different: Tensor
    which: Tensor
    each: bool = False

    @classmethod
    def of(cls, x: Tensor, shape: tuple[int, ...]) -> Frames:
        """Features [T · B, ...], each taken for another one, and T and B."""
        return cls(x, torch.arange(len(x), device=x.device).view(shape), True)

    def as_slots(self) -> Frames:
        """The same as slots, one of each frame where there were none."""
        rows = self.different
        return self if rows.dim() == 3 else Frames(rows.unsqueeze(1), self.which, self.each)

    def spread(self) -> Tensor:
        """The features of every frame, [T, B, ...]."""
        return self.of_every(self.different)

    def of_every(self, made: Tensor) -> Tensor:
        """What was made of the different ones, [M, ...], for every frame: [T, B, ...]."""
        shape = *self.which.shape, *made.shape[1:]
        return (made if self.each else F.embedding(self.which, made.flatten(1))).reshape(shape)

    def rows(self, made: Tensor) -> Tensor:
        """What was made of the different ones, [M, R], for all frames as kernels have it: each step
        filled up to whole tiles, [T·B', R].
        """
        more = padding(self.which.shape[1])
        if self.each and not more:
            return made
        return F.embedding(pad(self.which, (0, more)).flatten(), made)


def as_frames(x: Tensor | Frames) -> Frames:
    """A tensor's frames are taken for different ones."""
    return x if isinstance(x, Frames) else Frames.of(x.flatten(0, 1), x.shape[:2])


class Numbers:
    """Different rows by number, in the order in which they come; one that comes again keeps it.

    Args:
        rows: integers [N, ...], as there will be; there is room for so many, and for `ROOM`.
        beside: others, [N, ...], if there will be any.
    """

    def __init__(self, rows: Tensor, beside: Tensor | None = None) -> None:
        self.count, self.room = 0, max(ROOM, len(rows))
        self._known = np.empty((self.room, sum(_widths(rows, beside))), np.uint8)
        self._table = np.zeros(1 << (2 * self.room).bit_length(), np.int32)

    def has_room(self, more: int) -> bool:
        """Whether so many rows may come, all of them new."""
        return self.count + more <= self.room

    def number(self, rows: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Their numbers, int64 [N], and where those that are new come first, int64 [M].

        Args:
            rows: [N, ...], for which there is room.
            beside: [N, ...]; rows are alike where these are, too.
        """
        rows, beside = rows.contiguous(), None if beside is None else beside.contiguous()
        which, new = torch.empty(2, len(rows), dtype=torch.int64).unbind()
        given = rows.data_ptr(), 0 if beside is None else beside.data_ptr()
        widths, before = _widths(rows, beside), self.count
        places = which.data_ptr(), new.data_ptr()
        self.count = number_rows(
            len(rows), given, widths, self._known, self._table, before, places, *KINDS
        )
        return which, new[: self.count - before]


def _widths(rows: Tensor, beside: Tensor | None) -> tuple[int, int]:
    """How many bytes a row has, and what is beside it."""
    return _width(rows), 0 if beside is None else _width(beside)


def _width(rows: Tensor) -> int:
    return rows.numel() // len(rows) * rows.itemsize


def find_different(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the different rows each of the rows is, and where each of these comes first.

    Where there are no kernels, as on a GPU, which one would have to wait for, every row is taken
    for another one. As `Numbers.number`.
    """
    if has_kernels(rows):
        return Numbers(rows).number(rows)
    indices = torch.arange(len(rows), device=rows.device)
    return indices, indices


class Store:
    """What was made of different rows; of rows alike it is made once. See `Numbers`."""

    def __init__(self, rows: Tensor, beside: Tensor | None = None) -> None:
        self.numbers, self._made = Numbers(rows, beside), torch.empty(0)

    def recall(
        self, rows: Tensor, beside: Tensor | None, make: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What was made so far, [M, ...], and which of it is each row's, int64 [N].

        Args:
            rows, beside: as for `Numbers.number`.
            make: of those at int64 [n].
        """
        which, new = self.numbers.number(rows, beside)
        if len(new):
            made, count = make(new), self.numbers.count
            if len(new) == count:  # the first: with its gradients, if there is nothing to come
                room = count if torch.is_grad_enabled() else self.numbers.room
                self._made = made if room == count else made.new_empty(room, *made.shape[1:])
            if self._made is not made:
                self._made[count - len(new) : count] = made
        return self._made[: self.numbers.count], which


class Memory:
    """What frames and missions were encoded to, for as long as parameters stay as they are: whoever
    makes a memory sees to that.

    What is remembered depends, in its last bits, on what it was encoded beside.
    """

    images: Store
    missions: Store

    def __init__(self) -> None:
        self._begun = False

    def make_room(self, image: Tensor, mission: Tensor) -> None:
        """For images [N, ...] and missions [N, L]; what does not fit is forgotten."""
        if not self._begun or not self.images.numbers.has_room(len(image)):
            self.images, self.missions, self._begun = Store(image, mission), Store(mission), True


KINDS = type_of(torch.uint8), type_of(torch.int64)


@kernel
def number_rows(
    total: int,
    given: Any,
    widths: tuple[int, int],
    known: np.ndarray,
    table: np.ndarray,
    count: int,
    places: Any,
    kind: np.ndarray,
    kind_of_places: np.ndarray,
) -> int:
    """Fills in which row each of the given ones is and where new ones come; how many there are.

    The table has, by their hash, numbers of rows plus one, in the next free place where two meet.
    """
    before, last, width = count, len(table) - 1, known.shape[1]
    (rows, beside), (which, new) = numbers(given, kind), numbers(places, kind_of_places)
    which, new = carray(which, total), carray(new, total)
    factors, factor = np.empty(width, np.uint64), np.uint64(PRIME)
    row = np.empty(width, np.uint8)
    for i in range(width):
        factors[i] = factor
        factor *= np.uint64(PRIME)
    for n in range(total):
        copy_bytes(carray(rows + n * widths[0], widths[0]), row)
        copy_bytes(carray(beside + n * widths[1], widths[1]), row[widths[0] :])
        key = np.uint64(0)
        for i in range(width):
            key += np.uint64(row[i]) * factors[i]
        place = np.int64((key ^ key >> np.uint64(29)) * np.uint64(PRIME) >> np.uint64(32)) & last
        while table[place] and not is_same(row, known[table[place] - 1]):
            place = (place + 1) & last
        if not table[place]:
            copy_bytes(row, known[count])
            new[count - before] = n
            count += 1
            table[place] = count
        which[n] = table[place] - 1
    return count


@inlined
def copy_bytes(row: np.ndarray, place: np.ndarray) -> None:
    """One by one: all at once takes two seconds to compile."""
    for i in range(len(row)):
        place[i] = row[i]


@inlined
def is_same(row: np.ndarray, other: np.ndarray) -> bool:
    """Whether no byte differs."""
    unlike = np.uint8(0)
    for i in range(len(row)):
        unlike |= row[i] ^ other[i]
    return bool(unlike == 0)
