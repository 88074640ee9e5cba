"""The CPU launcher: kernels run on all cores, compiled once and cached on disk.

Implements ``envs.devices.Launcher``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core.caching import FunctionCache
from numba.extending import intrinsic
from torch import Tensor

from .actions import DONE
from .jit import Compiled, KernelCache, compiler_of, is_kept, noted, stamp_of
from .kernels import (
    are_kept,
    make_advance_one,
    make_observe_one,
    make_paint_row,
    make_regenerate,
    name_of,
)
from .record import view_records
from .rules import Rule, tag_of

# --- memory -------------------------------------------------------------------------------------


def as_array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as a kernel argument."""
    return tensor.numpy()


def as_records(memory: Tensor, count: int, size: int) -> np.ndarray:
    """``count`` records over ``uint8`` memory, ``size`` bytes apart."""
    return view_records(memory.numpy(), count, size)


def check_actions(actions: Tensor) -> None:
    """Refuse actions [B] if any is not one of the seven.

    Raises:
        ValueError: naming the smallest and the largest given.
    """
    given = actions.numpy()
    if not _make_all_within()(given, DONE):
        raise ValueError(f"actions must lie in 0..{DONE}, got {given.min()}..{given.max()}")


# The functions below use NumPy or a kernel: PyTorch would wake all its threads, which takes longer
# than such small operations.


def find_ended(ends: Tensor, everyone: Tensor) -> tuple[Tensor, Tensor]:
    """The indices, int64 [n], where either row of bool [2, B] is true, returned twice."""
    ended = torch.empty(ends.shape[1], dtype=torch.int64)
    ended = ended[: _make_note_ended()(ends.numpy(), ended.numpy())]
    return ended, ended


def copy_rows(tensor: Tensor, indices: Tensor) -> Tensor:
    """A copy of the rows of tensor [B, ...] at indices int64 [n]: [n, ...]."""
    return torch.from_numpy(tensor.numpy()[indices.numpy()])


def copy(tensor: Tensor) -> Tensor:
    """A copy of a tensor, sharing no memory with it."""
    return torch.from_numpy(tensor.numpy().copy())


SPARES = 4  # batches of pixels kept for reuse
LARGE = 1 << 20  # bytes from which fresh memory is slow


class Spares:
    """An allocator that reuses memory.

    Fresh memory takes longer than painting it, since the system clears each page. Memory given out
    earlier is reused as soon as the last tensor over it is gone.
    """

    def __init__(self) -> None:
        self._spares: list[np.ndarray] = []

    def take(self, size: int) -> Tensor:
        """uint8 [size], uninitialised."""
        if size < LARGE:
            return torch.empty(size, dtype=torch.uint8)
        for i in range(len(self._spares)):
            if self._spares[i].size == size and _holders(self._spares, i) == _OURS:
                return torch.from_numpy(self._spares[i])
        array = np.empty(size, np.uint8)
        self._spares = [array, *self._spares[: SPARES - 1]]
        return torch.from_numpy(array)


def _holders(arrays: list[np.ndarray], i: int) -> int:
    return sys.getrefcount(arrays[i])


_OURS = _holders([np.empty(1)], 0)  # the count when only the list holds it; varies by Python


def make_memory(device: torch.device) -> Callable[[int], Tensor]:
    """An allocator of uint8 [size], uninitialised, whose memory nothing else uses."""
    return Spares().take


# --- launching ----------------------------------------------------------------------------------

CHUNK = 512  # environments a thread takes at a time; below two chunks one thread runs all


@functools.cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="envs")


def launch(kernel: Compiled, count: int, *arrays: object) -> None:
    """Run a batch kernel over environments 0 to ``count``, on as many cores as pays off.

    Uses at most as many threads as PyTorch does (``torch.set_num_threads``). Threads take chunks
    dynamically, so that a busy core delays nothing.
    """
    chunks = iter(range(0, count, CHUNK))

    def work() -> None:
        for start in chunks:
            kernel(start, min(start + CHUNK, count), *arrays)

    threads = min(torch.get_num_threads(), count // CHUNK)
    others = [_helpers(threads - 1).submit(work) for _ in range(1, threads)]
    work()
    for other in others:
        other.cancel() or other.result()


# --- compiling ----------------------------------------------------------------------------------

COMPILER = compiler_of(__file__)


class _Cache(KernelCache, FunctionCache):
    """Kernels on disk."""


def _compile(kernel: Callable[..., object], name: str, kept: bool = True) -> Compiled:
    """Compile a batch kernel, or load it from the disk cache if it can be kept there."""
    kernel.__qualname__ = name  # see envs.jit
    compiled = njit(nogil=True)(kernel)
    if kept:
        with noted("kept"):
            compiled._cache = _Cache(kernel, name, stamp_of(kernel, COMPILER))
    return cast(Compiled, compiled)


@functools.cache
def _make_all_within() -> Compiled:
    def all_within(numbers: Any, highest: Any) -> bool:
        """Whether all lie in 0 to `highest`."""
        wrong = False
        for number in numbers:
            wrong |= number < 0 or number > highest
        return not wrong

    return _compile(all_within, "all-within")


@functools.cache
def _make_note_ended() -> Compiled:
    def note_ended(ends: Any, ended: Any) -> int:
        """Write the columns of bool [2, B] with a true row to `ended`; returns their number."""
        count = 0
        for i in range(ends.shape[1]):
            if ends[0, i] or ends[1, i]:
                ended[count] = i
                count += 1
        return count

    return _compile(note_ended, "note-ended")


@functools.cache
def make_advance(write_view: Compiled, own: tuple[Rule, ...]) -> Compiled:
    """The kernel that steps environments ``start`` to ``end`` of a batch, by these rules too."""
    advance_one = make_advance_one(write_view, own)

    def advance(
        start: Any,
        end: Any,
        state: Any,
        actions: Any,
        image: Any,
        direction: Any,
        reward: Any,
        ends: Any,
    ) -> None:
        for i in range(start, end):
            advance_one(state[i], actions[i], i, image, direction, reward, ends)

    return _compile(advance, f"advance-{name_of(write_view)}{tag_of(own)}", are_kept(own))


@functools.cache
def make_renew(generate: Compiled) -> Compiled:
    """The kernel that draws new layouts in environments ``ended[start:end]``."""
    regenerate = make_regenerate(generate)

    def renew(start: Any, end: Any, state: Any, params: Any, ended: Any) -> None:
        for n in range(start, end):
            regenerate(state[ended[n]], params)

    name = f"renew-{generate.py_func.__module__}-{name_of(generate)}"
    return _compile(renew, name, is_kept(generate))


@functools.cache
def make_observe(write_view: Compiled, settled: bool) -> Compiled:
    """The kernel that observes environments ``chosen[start:end]``."""
    observe_one = make_observe_one(write_view, settled)

    def observe(
        start: Any, end: Any, state: Any, chosen: Any, image: Any, direction: Any, mission: Any
    ) -> None:
        for n in range(start, end):
            observe_one(state[chosen[n]], chosen[n], image, direction, mission)

    return _compile(observe, f"observe-{settled}-{name_of(write_view)}")


@intrinsic
def store_past_caches(typing: Any, array: Any, at: Any, word: Any) -> Any:
    """``array[at] = word`` as a non-temporal store: pixels are written in order, whole lines."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        written = builder.store(
            values[2], builder.gep(data, [values[1]]), array.dtype.bitwidth // 8
        )
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(array, types.uint64, array.dtype), generate


@functools.cache
def make_paint(view: int, tile: int, words: int) -> Compiled:
    """The kernel that turns images ``start`` to ``end`` into pixels."""
    paint_row = make_paint_row(view, tile, words, store_past_caches)
    rows = view * tile

    def paint(start: Any, end: Any, image: Any, sprite_of: Any, sprites: Any, pixels: Any) -> None:
        for row in range(start * rows, end * rows):
            paint_row(image, row, sprite_of, sprites, pixels)

    return _compile(paint, f"paint-{view}-{tile}-{words}")
