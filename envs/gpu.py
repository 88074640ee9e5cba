"""The GPU launcher: the same kernels, one thread an environment, on PyTorch's current stream."""

from __future__ import annotations

import functools
from typing import Any

import torch
from numba import cuda
from torch import Tensor

from .kernels import make_advance_one, make_look_one, make_regenerate
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
def renew_source(generate: Any) -> Any:
    """The kernel that draws new layouts in the environments of ``ended``, not compiled."""
    regenerate = make_regenerate(generate)

    def renew(count: Any, state: Any, params: Any, ended: Any) -> None:
        n = cuda.grid(1)
        if n < count:
            regenerate(state[ended[n]], params)

    return renew


@functools.cache
def look_source(view: int) -> Any:
    """The kernel that gives the first observations of ``ended``'s environments, not compiled."""
    look_one = make_look_one(view)

    def look(count: Any, state: Any, ended: Any, image: Any, direction: Any, mission: Any) -> None:
        n = cuda.grid(1)
        if n < count:
            look_one(state[ended[n]], ended[n], image, direction, mission)

    return look


@functools.cache
def make_advance(view: int) -> Any:
    """The kernel that steps every environment of a batch."""
    return cuda.jit(advance_source(view))


@functools.cache
def make_renew(generate: Any) -> Any:
    """The kernel that draws new layouts in the environments of ``ended``."""
    return cuda.jit(renew_source(generate))


@functools.cache
def make_look(view: int) -> Any:
    """The kernel that gives the first observations of ``ended``'s environments."""
    return cuda.jit(look_source(view))
