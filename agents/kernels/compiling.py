"""How kernels are compiled, kept on disk and run on the cores."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    """Compile a small function into whatever compiled code calls it."""
    return part(function, forceinline=True)


def part(function: Function, **options: bool) -> Function:
    """Compile a function to be called by compiled code, and by nothing else."""
    dispatcher = njit(
        error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options
    )
    return cast(Function, dispatcher(function))


def for_both(function: Function) -> Function:
    """A small function for compiled code and for Python."""
    return cast(Function, register_jitable(function))


def kernel(function: Function) -> Function:
    """Compile what `launch` runs, or take it from the disk while its sources are what they were."""
    compiled = njit(nogil=True, error_model="numpy")(function)
    compiled._cache = _SourceCache(function)
    return cast(Function, compiled)


_compiled = True


def has_kernels(x: Tensor) -> bool:
    """Whether what is compiled runs on it: on a CPU, and not for stacked runs."""
    return _compiled and x.device.type == "cpu" and not is_stacked(x)


FUSED_ON = "cuda"  # the kind of device that fused spans are for


def has_fused(x: Tensor) -> bool:
    """Whether fused spans run where x is, in its precision: on a GPU, given Triton."""
    kinds = x.device.type == FUSED_ON, x.dtype == torch.float32
    return _compiled and all(kinds) and _has_triton()


@functools.cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def is_stacked(x: Tensor) -> bool:
    """Whether it is one of many runs', which `torch.func.vmap` goes over."""
    return bool(is_batchedtensor(x))


@contextmanager
def definitions() -> Iterator[None]:
    """Within it everything runs by its definition."""
    global _compiled
    _compiled = False
    try:
        yield
    finally:
        _compiled = True


class _SourceCache(FunctionCache):
    """Numba's disk cache, valid while all sources here, beside the kernel and above it stay.

    Numba's own looks at the one file of the cached function and not at what that function calls.
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
    """`share` the tiles of a kernel of rows.

    Args:
        run: ``run(start, end, told, addresses of rows, addresses of numbers, kind)``; kind is an
            array of the tensors' type.
        tiles: how many there are.
        told: what else it is told.
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
    """An array of no numbers, which tells a kernel of a tensor's type."""
    return torch.empty(0, dtype=kind).numpy()
