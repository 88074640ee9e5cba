"""How kernels are compiled, cached on disk and run on all cores."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.extending import register_jitable
from torch import Tensor
from torch._C._functorch import is_batchedtensor

Function = TypeVar("Function", bound=Callable[..., Any])


def inlined(function: Function) -> Function:
    """Compile a small function to be inlined into the compiled code that calls it."""
    return part(function, forceinline=True)


def part(function: Function, **options: bool) -> Function:
    """Compile a function that only compiled code calls."""
    dispatcher = njit(
        error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options
    )
    return cast(Function, dispatcher(function))


def for_both(function: Function) -> Function:
    """A small function for compiled code and for Python."""
    return cast(Function, register_jitable(function))


def kernel(function: Function) -> Function:
    """Compile what `launch` runs, or load it from disk if its sources have not changed."""
    compiled = njit(nogil=True, error_model="numpy")(function)
    with suppress(RuntimeError):  # there is no folder to keep it in
        compiled._cache = _SourceCache(function)
    return cast(Function, compiled)


_compiled = True


def has_kernels(x: Tensor) -> bool:
    """Whether kernels run on x: on a CPU, and not for stacked runs."""
    return _compiled and x.device.type == "cpu" and not is_stacked(x)


FUSED_ON = "cuda"  # type of device for fused spans


def has_fused(x: Tensor) -> bool:
    """Whether fused spans run on x: float32 on a GPU, with Triton installed."""
    kinds = x.device.type == FUSED_ON, x.dtype == torch.float32
    return _compiled and all(kinds) and _has_triton()


@functools.cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def is_stacked(x: Tensor) -> bool:
    """Whether x belongs to stacked runs, which `torch.func.vmap` batches."""
    return bool(is_batchedtensor(x))


@contextmanager
def definitions() -> Iterator[None]:
    """A context in which everything runs by its definition."""
    global _compiled
    before, _compiled = _compiled, False
    try:
        yield
    finally:
        _compiled = before


class _SourceCache(FunctionCache):
    """Numba's disk cache, valid while no source here, beside the kernel or in its parent changes.

    Numba's own checks only the file of the cached function, not what the function calls.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__(function)
        folders = [Path(__file__).parent, *Path(inspect.getfile(function)).parents[:2]]
        stamp = hashlib.sha256(b"".join(map(_sources, folders))).hexdigest()
        name = f"{function.__module__}.{function.__qualname__}"
        self._cache_file = IndexDataCacheFile(self._cache_path, name, stamp)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple()


@functools.cache
def _sources(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))


@functools.cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="agents")


def launch(
    run: Callable[..., None],
    tiles: int,
    told: tuple[tuple[int, ...], ...],
    rows: Sequence[Tensor],
    numbers: Sequence[Tensor],
) -> None:
    """`share` the tiles of a kernel.

    Args:
        run: ``run(start, end, told, addresses of rows, addresses of numbers, kind)``; kind is an
            array of the tensors' dtype.
        tiles: number of tiles.
        told: other arguments.
        rows: tensors that it takes as rows of sixteen numbers.
        numbers: tensors that it takes number by number.
    """
    kind = rows[0].dtype
    if any(x.dtype != kind or not x.is_contiguous() for x in (*rows, *numbers)):
        raise TypeError("a kernel takes contiguous tensors of one type")
    places = (tuple(x.data_ptr() for x in rows), tuple(x.data_ptr() for x in numbers))
    share(run, tiles, told, *places, type_of(kind))


def share(run: Callable[..., None], count: int, *arguments: object) -> None:
    """``run(start, end, *arguments)`` over 0 to `count`, on as many cores as torch uses."""
    threads = max(1, min(torch.get_num_threads(), count))
    bounds = [count * thread // threads for thread in range(threads + 1)]
    others = [
        _helpers(threads - 1).submit(run, start, end, *arguments)
        for start, end in pairwise(bounds[1:])
    ]
    run(0, bounds[1], *arguments)
    for other in others:
        other.result()


@functools.cache
def type_of(kind: torch.dtype) -> np.ndarray:
    """An empty array, which tells a kernel a tensor's dtype."""
    return torch.empty(0, dtype=kind).numpy()
