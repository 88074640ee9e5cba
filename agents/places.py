"""What a layer with weights for every place makes of the cells of the view.

Many cells of many frames are alike: what a kind of cell, under one mission, adds at each place is
worked out once, and a frame adds up 49 rows of that. Where kinds are many, a product is faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .cells import Looks, Seen, code_of, look, whole_rows
from .kernels.compiling import has_kernels, kernel, share, type_of
from .kernels.lanes import WIDTH, above, choose, load, nothing, rows, store

FEW = 4  # frames for each kind of cell, at least, for kinds to be faster


def weigh(looks: Looks, weight: Tensor) -> Seen:
    """The cells of each frame by the weights of their places, and the largest numbers among them.

    Args:
        looks: cells, which, table, scale and shift, as `look` takes them.
        weight: [H, K · C], as a linear layer has it.

    Returns:
        [N, H] and [N, C].

    Raises:
        ValueError: there is no such type, color or state.
    """
    cells, which, table, scale, shift = looks
    if has_kernels(cells.device):
        cells, which = cells.contiguous(), which.contiguous()
        numbered = number_kinds(cells, which, len(table), len(scale))
        if numbered is not None:
            return _weigh_kinds(*numbered, table, scale, shift, weight)
    seen, most = look(cells, which, table, scale, shift)
    return F.linear(seen.flatten(1), weight), most


def number_kinds(
    cells: Tensor, which: Tensor, codes: int, missions: int
) -> tuple[Tensor, Tensor] | None:
    """The kinds of cells, a code under a mission each, int64 [2, M], and of which kind each cell
    is, int32 [N, K]; None where there are more than are few.
    """
    limit = len(cells) // FEW
    numbers = np.full((missions, codes), -1, np.int32)
    kinds, kind = np.empty((2, limit), np.int64), np.empty(cells.shape[:2], np.int32)
    count = number(cells.numpy(), which.numpy(), numbers, kinds, kind)
    if count > limit:
        return None
    return torch.from_numpy(kinds[:, :count]), torch.from_numpy(kind)


def _weigh_kinds(
    kinds: Tensor, kind: Tensor, table: Tensor, scale: Tensor, shift: Tensor, weight: Tensor
) -> Seen:
    """As `weigh`, by kinds."""
    (code, mission), places, hidden = kinds, kind.shape[1], len(weight)
    factor, term = F.embedding(mission, scale), F.embedding(mission, shift)
    vectors = torch.relu(F.embedding(code, table) * factor + term)  # [M, C]
    by_place = whole_rows(weight.T).unflatten(0, (places, -1))  # [K, C, H], H whole rows
    added = vectors @ by_place.transpose(0, 1).flatten(1)  # [M, K · H]
    total, most = _Sum.apply(kind, added, whole_rows(vectors))  # type: ignore[no-untyped-call]
    return total[:, :hidden], most[:, : table.shape[1]]


class _Sum(torch.autograd.Function):
    """forward: kinds int32 [N, K], what each adds at each place [M, K · H] and its vector [M, C].
    Returns sums [N, H] and the largest numbers [N, C].
    """

    @staticmethod
    def forward(ctx: Any, kind: Tensor, added: Tensor, vectors: Tensor) -> Seen:
        frames, places = kind.shape
        total = added.new_empty(frames, added.shape[1] // places)
        most = vectors.new_empty(frames, vectors.shape[1])
        memory = tuple(x.data_ptr() for x in (added, vectors, total, most))
        sizes = total.shape[1] // WIDTH, most.shape[1] // WIDTH
        share(sum_rows, frames, *sizes, kind.numpy(), memory, type_of(added.dtype))
        ctx.save_for_backward(kind, vectors, most)
        ctx.added = added.shape
        return total, most

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, d_most: Tensor) -> tuple[Tensor | None, ...]:
        kind, vectors, most = ctx.saved_tensors
        d_total, d_most = d_total.contiguous(), d_most.contiguous()
        d_added, d_vectors = vectors.new_zeros(ctx.added), torch.zeros_like(vectors)
        own = (vectors, most, d_total, d_most, d_added, d_vectors)
        memory = tuple(x.data_ptr() for x in own)
        sizes = d_total.shape[1] // WIDTH, most.shape[1] // WIDTH
        # All frames add to the same rows: no threads.
        sum_back(0, len(kind), *sizes, kind.numpy(), memory, type_of(vectors.dtype))
        return None, d_added, d_vectors


@kernel
def number(cells: np.ndarray, which: Any, numbers: Any, kinds: Any, kind: Any) -> int:
    """Fills in kinds and which each cell is, `numbers` telling by code and mission; how many there
    are, or one more than there is room for.
    """
    count = 0
    for n in range(len(cells)):
        mission = which[n]
        for k in range(cells.shape[1]):
            code = code_of(cells, n, k)
            found = numbers[mission, code]
            if found < 0:
                if count == kinds.shape[1]:
                    return count + 1
                found = numbers[mission, code] = count
                kinds[0, count], kinds[1, count] = code, mission
                count += 1
            kind[n, k] = found
    return count


@kernel
def sum_rows(
    start: int, end: int, height: int, width: int, kind: np.ndarray, memory: Any, of: Any
) -> None:
    """Of frames `start` to `end`: fills in the sums of `height` rows and the largest of `width`."""
    added, vectors, total, most = rows(memory, of)
    places, zero = kind.shape[1], nothing(added)
    for n in range(start, end):
        for e in range(height):
            a, b = zero, zero
            for k in range(0, places - 1, 2):
                a = a + load(added, (kind[n, k] * places + k) * height + e)
                b = b + load(added, (kind[n, k + 1] * places + k + 1) * height + e)
            if places % 2:
                a = a + load(added, (kind[n, places - 1] * places + places - 1) * height + e)
            store(total, n * height + e, a + b)
        for e in range(width):
            top = zero
            for k in range(places):
                x = load(vectors, kind[n, k] * width + e)
                top = choose(above(top, x), top, x)
            store(most, n * width + e, top)


@kernel
def sum_back(
    start: int, end: int, height: int, width: int, kind: np.ndarray, memory: Any, of: Any
) -> None:
    """Of frames `start` to `end`: adds to the gradients of what is added, and of the vectors."""
    vectors, most, d_total, d_most, d_added, d_vectors = rows(memory, of)
    places, zero = kind.shape[1], nothing(vectors)
    for n in range(start, end):
        for e in range(height):
            arrived = load(d_total, n * height + e)
            for k in range(places):
                row = (kind[n, k] * places + k) * height + e
                store(d_added, row, load(d_added, row) + arrived)
        for e in range(width):
            top, left = load(most, n * width + e), load(d_most, n * width + e)
            for k in range(places):
                row = kind[n, k] * width + e
                taken = choose(above(top, load(vectors, row)), zero, left)
                left = left - taken  # by the first of the largest ones
                store(d_vectors, row, load(d_vectors, row) + taken)
