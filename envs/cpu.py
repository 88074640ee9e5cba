"""The CPU launcher: the kernels over all cores, compiled once and kept on disk."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from llvmlite import ir
from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.extending import intrinsic
from torch import Tensor

from .jit import fingerprint
from .kernels import make_advance_one, make_look_one, make_regenerate, name_of
from .record import view_records
from .rgb import make_paint_row


def as_array(tensor: Tensor) -> Any:
    """The tensor's memory as a kernel argument."""
    return tensor.numpy()


def as_records(memory: Tensor, count: int, size: int) -> Any:
    """``count`` records over ``uint8`` memory, ``size`` bytes apart."""
    return view_records(memory.numpy(), count, size)


CHUNK = 512  # environments a thread takes at a time; fewer than two chunks stay on one thread


@functools.cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="envs")


def launch(kernel: Callable[..., None], count: int, *arrays: Any) -> None:
    """Run a batch kernel over environments 0 to ``count`` on as many cores as that is worth.

    Uses at most as many threads as PyTorch does (``torch.set_num_threads``). Threads take chunks as
    they get to run, so that a busy core delays nobody.
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


# Modules that hold nothing which kernels are made of.
NOT_COMPILED = {
    "__init__",
    "batch",
    "bench",
    "check",
    "foreign",
    "gpu",
    "gym",
    "sb3",
    "translate",
    "upstream",
}


def _digest_engine() -> str:
    """A digest of the engine's source: compiled code is kept for as long as it stays the same."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in NOT_COMPILED:
            digest.update(path.read_bytes())
    return digest.hexdigest()


ENGINE = _digest_engine()  # when imported: what is compiled later is that source


class _SourceCache(FunctionCache):
    """Numba's disk cache, valid for as long as all of the source is what it was.

    Numba's own looks at the one file of the cached function and not at what that function calls.
    """

    def __init__(self, kernel: Callable[..., None], name: str, stamp: str) -> None:
        super().__init__(kernel)
        self._cache_file = IndexDataCacheFile(self._cache_path, name, stamp)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple()


def _compile(kernel: Callable[..., None], name: str, made_of: str) -> Any:
    """Compile a batch kernel; ``made_of`` stands for what it is made of besides the engine."""
    kernel.__qualname__ = name  # see envs.kernels
    compiled = njit(nogil=True)(kernel)
    stamp = hashlib.sha256((ENGINE + made_of).encode()).hexdigest()
    compiled._cache = _SourceCache(kernel, name, stamp)
    return compiled


@functools.cache
def make_advance(observe: Any) -> Any:
    """The kernel that steps environments ``start`` to ``end`` of a batch."""
    advance_one = make_advance_one(observe)

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

    return _compile(advance, f"advance-{name_of(observe)}", "")


@functools.cache
def make_renew(generate: Any) -> Any:
    """The kernel that draws new layouts in environments ``ended[start:end]``."""
    regenerate = make_regenerate(generate)

    def renew(start: Any, end: Any, state: Any, params: Any, ended: Any) -> None:
        for n in range(start, end):
            regenerate(state[ended[n]], params)

    source = generate.py_func
    if not Path(inspect.getfile(source)).is_file() or inspect.getmodule(source) is None:
        return njit(nogil=True)(renew)  # typed in, or of no module: Numba could not find it again
    return _compile(renew, f"renew-{source.__module__}-{name_of(generate)}", fingerprint(source))


@functools.cache
def make_look(observe: Any, settled: bool) -> Any:
    """The kernel that observes environments ``chosen[start:end]``."""
    look_one = make_look_one(observe, settled)

    def look(
        start: Any, end: Any, state: Any, chosen: Any, image: Any, direction: Any, mission: Any
    ) -> None:
        for n in range(start, end):
            look_one(state[chosen[n]], chosen[n], image, direction, mission)

    return _compile(look, f"look-{settled}-{name_of(observe)}", "")


@intrinsic
def store_past_caches(typing: Any, array: Any, at: Any, word: Any) -> Any:
    """``array[at] = word``, but past the caches: pixels are written in order, whole lines."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        written = builder.store(
            values[2], builder.gep(data, [values[1]]), array.dtype.bitwidth // 8
        )
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(array, types.uint64, array.dtype), generate


@functools.cache
def make_paint(view: int, tile: int, words: int) -> Any:
    """The kernel that turns images ``start`` to ``end`` into pixels."""
    paint_row = make_paint_row(view, tile, words, store_past_caches)
    rows = view * tile

    def paint(start: Any, end: Any, image: Any, sprite_of: Any, sprites: Any, pixels: Any) -> None:
        for row in range(start * rows, end * rows):
            paint_row(image, row, sprite_of, sprites, pixels)

    return _compile(paint, f"paint-{view}-{tile}-{words}", "")
