"""The GPU launcher: the same kernels, one thread per environment, on PyTorch's current stream,
compiled once and cached on disk.

Implements ``envs.devices.Launcher``.
"""

from __future__ import annotations

import functools
import importlib.metadata
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from numba import cuda, njit
from numba.cuda.dispatcher import CUDACache
from torch import Tensor

from .jit import Compiled, KernelCache, compiler_of, is_kept, noted, stamp_of
from .kernels import (
    are_kept,
    make_advance_one,
    make_observe_one,
    make_paint_row,
    make_regenerate,
    name_of,
)
from .record import RECORD
from .rules import Rule, tag_of

warnings.filterwarnings("ignore", "Grid size")  # small batches underuse a GPU on purpose

THREADS = 64  # per block; environments diverge, so small blocks waste least


def as_array(tensor: Tensor) -> object:
    """The tensor's memory as a kernel argument."""
    return cuda.as_cuda_array(tensor, sync=False)


def as_records(memory: Tensor, count: int, size: int) -> object:
    """``count`` records over ``uint8`` memory, ``size`` bytes apart."""
    raw = cuda.as_cuda_array(memory, sync=False)
    return cuda.devicearray.DeviceNDArray((count,), (size,), RECORD, gpu_data=raw.gpu_data)


def check_actions(actions: Tensor) -> None:
    """Accept any actions [B]: checking them would synchronise with the device."""


def find_ended(ends: Tensor, everyone: Tensor) -> tuple[Tensor, Tensor]:
    """All indices, and these with −1 where no episode ended: counting would synchronise."""
    return everyone, torch.where(ends.any(0), everyone, -1)


def copy_rows(tensor: Tensor, indices: Tensor) -> Tensor:
    """A copy of the rows of tensor [B, ...] at indices int64 [n]: [n, ...]."""
    return tensor[indices]


def copy(tensor: Tensor) -> Tensor:
    """A copy of a tensor, sharing no memory with it."""
    return tensor.clone()


def make_memory(device: torch.device) -> Callable[[int], Tensor]:
    """An allocator of uint8 [size], uninitialised; PyTorch's caches a GPU's memory."""
    return functools.partial(torch.empty, dtype=torch.uint8, device=device)


def launch(kernel: Compiled, count: int, *arrays: object) -> None:
    """Run a batch kernel over environments 0 to ``count``, after the work queued on the stream."""
    stream = stream_of(torch.cuda.current_stream().cuda_stream)
    cast(Any, kernel)[(count + THREADS - 1) // THREADS, THREADS, stream](count, *arrays)


@functools.cache
def stream_of(handle: int) -> object:
    """Numba's object for a stream, cached: with a new one each launch would be configured anew."""
    return cuda.external_stream(handle)


@functools.cache
def advance_source(write_view: Compiled, own: tuple[Rule, ...]) -> Callable[..., None]:
    """The uncompiled kernel that steps every environment of a batch, by these rules too."""
    advance_one = make_advance_one(write_view, own)

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
def renew_source(generate: Compiled) -> Callable[..., None]:
    """The uncompiled kernel that draws new layouts in the environments of ``ended``."""
    regenerate = make_regenerate(generate)

    def renew(count: Any, state: Any, params: Any, ended: Any) -> None:
        n = cuda.grid(1)
        if n < count and ended[n] >= 0:
            regenerate(state[ended[n]], params)

    return renew


@functools.cache
def observe_source(write_view: Compiled, settled: bool) -> Callable[..., None]:
    """The uncompiled kernel that observes the environments of ``chosen``."""
    observe_one = make_observe_one(write_view, settled)

    def observe(
        count: Any, state: Any, chosen: Any, image: Any, direction: Any, mission: Any
    ) -> None:
        n = cuda.grid(1)
        if n < count and chosen[n] >= 0:
            observe_one(state[chosen[n]], chosen[n], image, direction, mission)

    return observe


@njit
def store(array: Any, at: Any, word: Any) -> None:
    """Write a word of pixels to memory; neighbouring threads' writes are coalesced."""
    array[at] = word


@functools.cache
def paint_source(view: int, tile: int, words: int) -> Callable[..., None]:
    """The uncompiled kernel that turns images into pixels.

    A thread paints as many rows as an image has, ``count`` rows apart, so that neighbouring threads
    write neighbouring rows.
    """
    paint_row = make_paint_row(view, tile, words, store)
    rows = view * tile

    def paint(count: Any, image: Any, sprite_of: Any, sprites: Any, pixels: Any) -> None:
        n = cuda.grid(1)
        if n < count:
            for row in range(n, count * rows, count):
                paint_row(image, row, sprite_of, sprites, pixels)

    return paint


# --- compiling ----------------------------------------------------------------------------------

COMPILER = compiler_of(__file__)


class _Cache(KernelCache, CUDACache):
    """Kernels on disk. Without them, each process compiles a level for a minute or more."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return *super()._index_key(sig, codegen), importlib.metadata.version("numba-cuda")


def _compile(kernel: Callable[..., object], name: str, kept: bool = True) -> Compiled:
    """Compile a batch kernel, or load it from the disk cache if it can be kept there."""
    kernel.__qualname__ = name = f"cuda-{name}"
    compiled = cuda.jit(kernel)
    if kept:
        with noted("kept"):
            compiled._cache = _Cache(kernel, name, stamp_of(kernel, COMPILER))
    return cast(Compiled, compiled)


@functools.cache
def make_advance(write_view: Compiled, own: tuple[Rule, ...]) -> Compiled:
    """The kernel that steps every environment of a batch, by these rules too."""
    kernel = advance_source(write_view, own)
    return _compile(kernel, f"advance-{name_of(write_view)}{tag_of(own)}", are_kept(own))


@functools.cache
def make_renew(generate: Compiled) -> Compiled:
    """The kernel that draws new layouts in the environments of ``ended``."""
    kernel = renew_source(generate)
    name = f"renew-{generate.py_func.__module__}-{name_of(generate)}"
    return _compile(kernel, name, is_kept(generate))


@functools.cache
def make_observe(write_view: Compiled, settled: bool) -> Compiled:
    """The kernel that observes the environments of ``chosen``."""
    kernel = observe_source(write_view, settled)
    return _compile(kernel, f"observe-{settled}-{name_of(write_view)}")


@functools.cache
def make_paint(view: int, tile: int, words: int) -> Compiled:
    """The kernel that turns images into pixels."""
    return _compile(paint_source(view, tile, words), f"paint-{view}-{tile}-{words}")
