"""The GPU launcher: the same kernels, one thread an environment, on PyTorch's current stream."""

from __future__ import annotations

import functools
from typing import Any

import torch
from numba import cuda
from torch import Tensor

from .kernels import make_advance_one, make_renew_one
from .record import RECORD

THREADS = 64  # a block; environments diverge, so small blocks waste least


def as_array(tensor: Tensor) -> Any:
    """The tensor's memory as a kernel argument."""
    return cuda.as_cuda_array(tensor, sync=False)


def as_records(memory: Tensor, count: int, size: int) -> Any:
    """``count`` records over ``uint8`` memory, ``size`` bytes apart."""
    raw = cuda.as_cuda_array(memory, sync=False)
    return cuda.devicearray.DeviceNDArray((count,), (size,), RECORD, gpu_data=raw.gpu_data)


def launch(kernel: Any, count: int, *arrays: Any) -> None:
    """Run a batch kernel over environments 0 to ``count``, behind what the stream already holds."""
    stream = cuda.external_stream(torch.cuda.current_stream().cuda_stream)
    kernel[(count + THREADS - 1) // THREADS, THREADS, stream](count, *arrays)


@functools.cache
def advance_source(view: int) -> Any:
    """The kernel that steps every environment of a batch, not compiled."""
    advance_one = make_advance_one(view)

    def advance(
        count: Any,
        state: Any,
        actions: Any,
        image: Any,
        direction: Any,
        reward: Any,
        ends: Any,
    ) -> None:
        i = cuda.grid(1)
        if i < count:
            advance_one(state[i], actions[i], i, image, direction, reward, ends)

    return advance


@functools.cache
def renew_source(view: int, generate: Any) -> Any:
    """The kernel that begins new episodes in the environments of ``ended``, not compiled."""
    renew_one = make_renew_one(view, generate)

    def renew(
        count: Any,
        state: Any,
        params: Any,
        ended: Any,
        first: Any,
        image: Any,
        direction: Any,
        mission: Any,
        last_image: Any,
        last_direction: Any,
    ) -> None:
        n = cuda.grid(1)
        if n < count:
            i, k = ended[n], first + n
            renew_one(state[i], params, i, k, image, direction, mission, last_image, last_direction)

    return renew


@functools.cache
def make_advance(view: int) -> Any:
    """The kernel that steps every environment of a batch."""
    return cuda.jit(advance_source(view))


@functools.cache
def make_renew(view: int, generate: Any) -> Any:
    """The kernel that begins new episodes in the environments of ``ended``."""
    return cuda.jit(renew_source(view, generate))
