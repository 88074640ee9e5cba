"""What the time loop of the cell multiplies with."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Weights(NamedTuple):
    """What the time loop multiplies with, or the gradients of it.

    read [n·z, D], from the input to the modules' dynamics, where that product is taken ahead of the
    loop; start [n, d, 1]; weight [n, z, r + d] and bias [n, z, 1], from what a module reads and
    remembers to its dynamics (r is 0 where the reading's product is taken ahead); query
    [n, H·key, d] and its bias; communication [n, 3·Hc·e, d] to queries,
    keys and values, and communication_output [n, d, Hc·e].
    """

    read: Tensor
    start: Tensor
    weight: Tensor
    bias: Tensor
    query: Tensor
    query_bias: Tensor
    communication: Tensor
    communication_output: Tensor
