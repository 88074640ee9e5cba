"""The CPU launcher: the kernels over all cores, compiled once and kept on disk."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit, prange
from numba.core.caching import FunctionCache, IndexDataCacheFile

from .kernels import make_advance_one, make_renew_one


@functools.cache
def _engine_stamp() -> str:
    """A digest of the engine's source: compiled code is kept for as long as it stays the same."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _SourceCache(FunctionCache):
    """Numba's disk cache, valid for as long as all of the source is what it was.

    Numba's own looks at the one file of the cached function and not at what that function calls.
    """

    def __init__(self, kernel: Callable[..., None], name: str, stamp: str) -> None:
        super().__init__(kernel)
        self._cache_file = IndexDataCacheFile(self._cache_path, name, stamp)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple()


def _compile(kernel: Callable[..., None], name: str, source: str) -> Any:
    """Compile a batch kernel for all cores; ``source`` is what it is made of besides the engine."""
    compiled = njit(parallel=True)(kernel)
    stamp = hashlib.sha256((_engine_stamp() + source).encode()).hexdigest()
    compiled._cache = _SourceCache(kernel, name, stamp)
    return compiled


@functools.cache
def make_advance(view: int) -> Any:
    """The kernel that steps every environment of a batch."""
    advance_one = make_advance_one(view)

    def advance(
        state: Any, actions: Any, image: Any, direction: Any, reward: Any, ends: Any
    ) -> None:
        for i in prange(state.size):
            advance_one(state[i], actions[i], i, image, direction, reward, ends)

    return _compile(advance, f"advance-{view}", "")


@functools.cache
def make_renew(view: int, generate: Any) -> Any:
    """The kernel that begins a new episode in the environments listed in ``ended``."""
    renew_one = make_renew_one(view, generate)

    def renew(
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
        for n in prange(ended.size):
            i, k = ended[n], first + n
            renew_one(state[i], params, i, k, image, direction, mission, last_image, last_direction)

    source = Path(inspect.getfile(generate.py_func)).read_text()
    name = f"renew-{view}-{generate.py_func.__module__}-{generate.py_func.__qualname__}"
    return _compile(renew, name, source)
