"""Function blocks: the modules that a routing network chooses among."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Layer(nn.Module):
    """The choices at one depth: blocks from [N, D] to [N, D']."""

    def __len__(self) -> int:
        """How many choices there are."""
        raise NotImplementedError

    def forward(self, x: Tensor, choices: Tensor) -> Tensor:
        """Each row of x [N, D] through the block chosen for it, int64 [N].

        On a CPU a block sees its own rows only; on a GPU all of them, as waiting for the rows to be
        counted would take longer.
        """
        if len(self) == 1 or x.device.type != "cpu":
            return self.every(x)[choices, torch.arange(len(x), device=x.device)]
        order = choices.argsort()
        back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        counts = choices.bincount(minlength=len(self))
        return self.in_turn(x.index_select(0, order), counts).index_select(0, back)

    def every(self, x: Tensor) -> Tensor:
        """x [N, D] through every block, [K, N, D']."""
        raise NotImplementedError

    def in_turn(self, x: Tensor, counts: Tensor) -> Tensor:
        """The first rows of x [N, D] through the first block, and so on; `counts` int64 [K]."""
        raise NotImplementedError


class Dense(Layer):
    """Fully connected layers, computed together in a few products.

    Args:
        count: number of layers.
        inputs, outputs: D and D'.
        relu: whether each ends with a ReLU.
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
        """How many choices there are, PASS included."""
        return len(self.weight) + self.skip

    def every(self, x: Tensor) -> Tensor:
        """As `Layer` has it."""
        y = self.each(x.expand(len(self.weight), -1, -1))
        return torch.cat([y, x.unsqueeze(0)]) if self.skip else y

    def each(self, x: Tensor) -> Tensor:
        """Each layer on rows of its own, [K, N, D] to [K, N, D']."""
        return self._finish(torch.baddbmm(self.bias.unsqueeze(1), x, self.weight))

    def in_turn(self, x: Tensor, counts: Tensor) -> Tensor:
        """As `Layer` has it."""
        if not self.skip:
            return self._in_turn(x, counts)
        rows, passing = x.split([len(x) - int(counts[-1]), int(counts[-1])])
        return torch.cat([self._in_turn(rows, counts[:-1]), passing])

    def _in_turn(self, x: Tensor, counts: Tensor) -> Tensor:
        bias = self.bias.repeat_interleave(counts, 0, output_size=len(x))
        return self._finish(_grouped_product(x, self.weight, counts) + bias)

    def _finish(self, y: Tensor) -> Tensor:
        return y.relu() if self.relu else y


def _grouped_product(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """The first rows of x [N, D] times weight[0], and so on; weight [K, D, D'], int64 [K]."""
    if x.dtype == torch.float64:  # which grouped_mm does not take
        parts = zip(x.split(counts.tolist()), weight, strict=True)
        return torch.cat([rows @ matrix for rows, matrix in parts])
    inputs, outputs = weight.shape[1:]
    # Rows must begin at multiples of 16 bytes.
    short, missing = (-size % (16 // x.element_size()) for size in (inputs, outputs))
    if short or missing:
        x, weight = F.pad(x, (0, short)), F.pad(weight, (0, missing, 0, short))
    return F.grouped_mm(x, weight, offs=counts.cumsum(0).int())[:, :outputs]
