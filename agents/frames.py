"""Frames that are alike: what an agent sees twice is worked out once.

Agents stand still, turn on the spot and walk the same rooms: of a minibatch's frames a tenth
(DoorKey) to two fifths (GoToLocal) differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import carray
from torch import Tensor, nn
from torch.nn.functional import pad

from .kernels.columns import spread_columns
from .kernels.compiling import has_kernels, inlined, kernel
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
        return replace(self, different=rows if rows.dim() == 3 else rows.unsqueeze(1))

    def spread(self) -> Tensor:
        """The features of every frame, [T, B, ...]."""
        return self.of_every(self.different)

    def of_every(self, made: Tensor) -> Tensor:
        """What was made of the different ones, [M, ...], for every frame: [T, B, ...]."""
        shape = *self.which.shape, *made.shape[1:]
        return (made if self.each else F.embedding(self.which, made.flatten(1))).reshape(shape)

    def columns(self, rows: Tensor) -> Tensor:
        """What was made of the different ones, [R, M], for all frames as kernels have it: each step
        filled up to whole tiles, [R, T·B].
        """
        more = padding(self.which.shape[1])
        if self.each and not more:
            return rows
        which = pad(self.which, (0, more))
        return spread_columns(rows, which.flatten())


def as_frames(x: Tensor | Frames) -> Frames:
    """A tensor's frames are taken for different ones."""
    return x if isinstance(x, Frames) else Frames.of(x.flatten(0, 1), x.shape[:2])


class Numbers:
    """Different rows by number, in the order in which they come; one that comes again keeps it.

    Args:
        rows: integers [N, ...], as there will be; there is room for so many, and for `ROOM`.
    """

    def __init__(self, rows: Tensor) -> None:
        self.count, self.room = 0, max(ROOM, len(rows))
        length = rows[0].numel() * rows.itemsize
        self._rows, self._beside = np.empty((self.room, length), np.uint8), np.empty(self.room, int)
        self._table = np.zeros(1 << (2 * self.room).bit_length(), np.int32)

    def has_room(self, more: int) -> bool:
        """Whether so many rows may come, all of them new."""
        return self.count + more <= self.room

    def number(self, rows: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Their numbers, int64 [N], and where those that are new come first, int64 [M].

        Args:
            rows: [N, ...], for which there is room.
            beside: int64 [N]; rows are alike where these numbers are, too.
        """
        memory = rows.flatten(1).contiguous().view(torch.uint8).numpy()
        others = np.zeros(len(rows), np.int64) if beside is None else beside.numpy()
        which, new = np.empty((2, len(rows)), np.int64)
        known = self._rows, self._beside, self._table
        before, self.count = self.count, number_rows(memory, others, *known, self.count, which, new)
        return torch.from_numpy(which), torch.from_numpy(new[: self.count - before])


def find_different(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the different rows each of the rows is, and where each of these comes first.

    Where there are no kernels, as on a GPU, which one would have to wait for, every row is taken
    for another one. As `Numbers.number`.
    """
    if has_kernels(rows.device):
        return Numbers(rows).number(rows)
    indices = torch.arange(len(rows), device=rows.device)
    return indices, indices


class Store:
    """What was made of different rows; of rows alike it is made once."""

    def __init__(self, rows: Tensor) -> None:
        self.numbers, self._made = Numbers(rows), torch.empty(0)

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
    """What frames and missions were encoded to while the encoder's parameters are as they were."""

    _images: Store
    _missions: Store

    def __init__(self) -> None:
        self._made_by: int | None = None

    def stores(
        self, image: Tensor, mission: Tensor, parameters: Iterable[nn.Parameter]
    ) -> tuple[Store, Store]:
        """Where to recall images [N, ...] and missions [N, L] from."""
        made_by = fingerprint(list(parameters))
        if made_by != self._made_by or not self._images.numbers.has_room(len(image)):
            self._made_by = made_by
            self._images, self._missions = Store(image), Store(mission)
        return self._images, self._missions


def fingerprint(tensors: Sequence[Tensor]) -> int:
    """A number that changes with any of their bits, whoever changes them: versions of tensors miss
    fused optimisers, and what is written through `data`.
    """
    addresses = tuple(x.data_ptr() for x in tensors)
    lengths = tuple(x.numel() * x.itemsize // 4 for x in tensors)
    return int(mix_words(addresses, lengths, np.empty(0, np.uint32)))


@kernel
def mix_words(addresses: Any, lengths: Any, kind: np.ndarray) -> np.int64:
    """Of words of four bytes."""
    key = np.uint64(0)
    for k, address in enumerate(numbers(addresses, kind)):
        words, here = carray(address, lengths[k]), np.uint64(k)
        for i in range(len(words)):
            here += np.uint64(words[i]) * (np.uint64(2 * i + 1) * np.uint64(PRIME))
        key = (key ^ here) * np.uint64(PRIME)
    return np.int64(key)


@kernel
def number_rows(
    given: np.ndarray,
    others: np.ndarray,
    rows: np.ndarray,
    beside: np.ndarray,
    table: np.ndarray,
    count: int,
    which: np.ndarray,
    new: np.ndarray,
) -> int:
    """Fills in which row each of the given ones is and where new ones come; how many there are.

    The table has, by their hash, numbers of rows plus one, in the next free place where two meet.
    """
    length, before, last = given.shape[1], count, len(table) - 1
    factors, factor = np.empty(length, np.uint64), np.uint64(PRIME)
    for i in range(length):
        factors[i] = factor
        factor *= np.uint64(PRIME)
    for n in range(len(given)):
        key = np.uint64(others[n]) * np.uint64(PRIME)
        for i in range(length):
            key += np.uint64(given[n, i]) * factors[i]
        place = np.int64((key ^ key >> np.uint64(29)) * np.uint64(PRIME) >> np.uint64(32)) & last
        while table[place] and not is_row(given[n], others[n], rows, beside, table[place] - 1):
            place = (place + 1) & last
        if not table[place]:
            for i in range(length):  # a row at a time takes two seconds to compile
                rows[count, i] = given[n, i]
            beside[count], new[count - before] = others[n], n
            count += 1
            table[place] = count
        which[n] = table[place] - 1
    return count


@inlined
def is_row(given: np.ndarray, other: int, rows: np.ndarray, beside: np.ndarray, k: int) -> bool:
    """Whether it is row k."""
    unlike = other - beside[k]
    for i in range(len(given)):
        unlike |= np.int64(given[i] ^ rows[k, i])
    return bool(unlike == 0)
