"""Function blocks, the modules that a routing network chooses among, side by side."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Blocks(nn.ModuleList):
    """Any modules [N, D] to [N, D'] of matching shapes; `nn.Identity()` is PASS."""

    def forward(self, x: Tensor, choices: Tensor) -> Tensor:
        """Each row of x [N, D] through the block that is chosen for it, int64 [N].

        On the CPU a block sees its own rows only; on a GPU all of them, for counting who has which
        would hold it up longer.
        """
        if x.is_cuda:
            return _of_every(self.every(x), choices)
        order, counts = choices.argsort(), choices.bincount(minlength=len(self)).tolist()
        parts = zip(self, x.index_select(0, order).split(counts), strict=True)
        return _put_back(torch.cat([block(rows) for block, rows in parts if len(rows)]), order)

    def every(self, x: Tensor) -> Tensor:
        """x [N, D] through every block, [K, N, D']."""
        return torch.stack([block(x) for block in self])


class Dense(nn.Module):
    """`Blocks` that are fully connected layers, in a few products for all of them.

    Args:
        count: how many layers.
        inputs, outputs: D and D'.
        relu: whether each ends with one.
        skip: whether PASS is one more choice, the last.
    """

    def __init__(
        self, count: int, inputs: int, outputs: int, relu: bool = True, skip: bool = False
    ) -> None:
        super().__init__()
        self.relu, self.skip = relu, skip
        bound = 1 / math.sqrt(inputs)  # as nn.Linear's
        self.weight = nn.Parameter(torch.empty(count, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, outputs).uniform_(-bound, bound))

    def __len__(self) -> int:
        """How many choices there are."""
        return len(self.weight) + self.skip

    def forward(self, x: Tensor, choices: Tensor) -> Tensor:
        """As `Blocks` has it."""
        if x.is_cuda or x.dtype == torch.float64:  # which grouped_mm does not take
            return _of_every(self.every(x), choices)
        layers = choices.clamp_max(len(self.weight) - 1)
        order = layers.argsort()
        ends = layers.bincount(minlength=len(self.weight)).cumsum(0)
        y = _grouped_product(x.index_select(0, order), self.weight, ends.int())
        y = self._finish(_put_back(y, order) + self.bias.index_select(0, layers))
        return torch.where((choices > layers).unsqueeze(1), x, y) if self.skip else y

    def every(self, x: Tensor) -> Tensor:
        """As `Blocks` has it."""
        y = self.each(x.expand(len(self.weight), -1, -1))
        return torch.cat([y, x.unsqueeze(0)]) if self.skip else y

    def each(self, x: Tensor) -> Tensor:
        """Rows of its own for each layer, [K, N, D] to [K, N, D']."""
        return self._finish(torch.baddbmm(self.bias.unsqueeze(1), x, self.weight))

    def _finish(self, y: Tensor) -> Tensor:
        return y.relu() if self.relu else y


def _of_every(every: Tensor, choices: Tensor) -> Tensor:
    """[K, N, D'] to what was chosen, [N, D']."""
    return every[choices, torch.arange(len(choices), device=choices.device)]


def _put_back(rows: Tensor, order: Tensor) -> Tensor:
    """Rows taken in an order, in the order that they had."""
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    return rows.index_select(0, back)


def _grouped_product(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Rows of x [N, D] up to ends[k], and from ends[k − 1], times weight[k], [K, D, D']."""
    inputs, outputs = weight.shape[1:]
    # Rows have to begin at multiples of 16 bytes.
    short, missing = (-size % (16 // x.element_size()) for size in (inputs, outputs))
    if short or missing:
        x, weight = F.pad(x, (0, short)), F.pad(weight, (0, missing, 0, short))
    return F.grouped_mm(x, weight, offs=ends)[:, :outputs]
