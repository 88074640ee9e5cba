"""Equal frames: what an agent sees twice is computed once.

Agents stand still, turn on the spot and walk the same rooms: only a tenth (DoorKey) to two fifths
(GoToLocal) of a minibatch's frames are distinct.
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
ROOM = 2048  # frames that a memory has room for, at least


@dataclass(frozen=True)
class Frames:
    """Features of T steps of B environments, once for equal frames.

    Attributes:
        different: of distinct frames, [M, D], or slots [M, S, D].
        which: int64 [T, B], each frame's index in `different`.
        each: whether every frame has its own row in `different`, in order.
    """

    different: Tensor
    which: Tensor
    each: bool = False

    @classmethod
    def of(cls, x: Tensor, shape: tuple[int, ...]) -> Frames:
        """From features [T · B, ...], one row for each frame, and the shape (T, B)."""
        return cls(x, torch.arange(len(x), device=x.device).view(shape), True)

    def as_slots(self) -> Frames:
        """The same as slots; features without slots become a single one."""
        rows = self.different
        return self if rows.dim() == 3 else Frames(rows.unsqueeze(1), self.which, self.each)

    def spread(self) -> Tensor:
        """The features of every frame, [T, B, ...]."""
        return self.of_every(self.different)

    def of_every(self, made: Tensor) -> Tensor:
        """Expand what was made of distinct frames, [M, ...], to every frame: [T, B, ...]."""
        shape = *self.which.shape, *made.shape[1:]
        return (made if self.each else F.embedding(self.which, made.flatten(1))).reshape(shape)

    def rows(self, made: Tensor) -> Tensor:
        """Expand what was made of distinct frames, [M, R], to every frame in the kernels' layout:
        each step padded to whole tiles, [T·B', R].
        """
        more = padding(self.which.shape[1])
        if self.each and not more:
            return made
        return F.embedding(pad(self.which, (0, more)).flatten(), made)


def as_frames(x: Tensor | Frames) -> Frames:
    """Frames as they are; those of a tensor [T, B, ...] are taken as distinct."""
    return x if isinstance(x, Frames) else Frames.of(x.flatten(0, 1), x.shape[:2])


class Numbers:
    """Numbers distinct rows in the order in which they come; a row that comes again keeps its own.

    Args:
        rows: an example of rows, integers [N, ...]; there is room for N, and at least for `ROOM`.
        beside: an example of what is beside them, [N, ...], if anything is.
    """

    def __init__(self, rows: Tensor, beside: Tensor | None = None) -> None:
        self.count, self.room = 0, max(ROOM, len(rows))
        self._known = np.empty((self.room, sum(_widths(rows, beside))), np.uint8)
        self._table = np.zeros(1 << (2 * self.room).bit_length(), np.int32)

    def has_room(self, more: int) -> bool:
        """Whether so many new rows fit."""
        return self.count + more <= self.room

    def number(self, rows: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The rows' numbers, int64 [N], and where each new one first occurs, int64 [M].

        Args:
            rows: [N, ...], which must fit.
            beside: [N, ...]; rows are equal only where these are, too.
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
    """Bytes of a row, and of what is beside it."""
    return _width(rows), 0 if beside is None else _width(beside)


def _width(rows: Tensor) -> int:
    return rows.numel() // len(rows) * rows.itemsize


def find_different(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows' numbers among the distinct ones, and where each of these first occurs.

    As `Numbers.number`. Without kernels, as on a GPU, where this would synchronise, every row is
    taken as distinct.
    """
    if has_kernels(rows):
        return Numbers(rows).number(rows)
    indices = torch.arange(len(rows), device=rows.device)
    return indices, indices


class Store:
    """What was made of rows, once for equal ones. See `Numbers`."""

    def __init__(self, rows: Tensor, beside: Tensor | None = None) -> None:
        self.numbers, self._made = Numbers(rows, beside), torch.empty(0)

    def recall(
        self, rows: Tensor, beside: Tensor | None, make: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """All that was made so far, [M, ...], and each row's index in it, int64 [N].

        Args:
            rows, beside: as for `Numbers.number`.
            make: makes what is missing, [n, ...], of the rows at int64 [n].
        """
        which, new = self.numbers.number(rows, beside)
        if len(new):
            made, count = make(new), self.numbers.count
            if len(new) == count:  # the first; as it is, with its gradients, if there are any
                room = count if torch.is_grad_enabled() else self.numbers.room
                self._made = made if room == count else made.new_empty(room, *made.shape[1:])
            if self._made is not made:
                self._made[count - len(new) : count] = made
        return self._made[: self.numbers.count], which


class Memory:
    """Encodings of frames and missions, valid while parameters do not change, which is up to the
    caller.

    In their last bits encodings depend on the batch in which they were computed.
    """

    images: Store
    missions: Store

    def __init__(self) -> None:
        self._begun = False

    def make_room(self, image: Tensor, mission: Tensor) -> None:
        """Make room for images [N, ...] and missions [N, L]; if they do not fit, forget all."""
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
    """Fill in the given rows' numbers and where new ones first occur; return how many are known.

    The table has rows' numbers plus one, by hash, with linear probing.
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
    """Byte by byte: a slice assignment takes two seconds to compile."""
    for i in range(len(row)):
        place[i] = row[i]


@inlined
def is_same(row: np.ndarray, other: np.ndarray) -> bool:
    """Whether all bytes are equal."""
    unlike = np.uint8(0)
    for i in range(len(row)):
        unlike |= row[i] ^ other[i]
    return bool(unlike == 0)
