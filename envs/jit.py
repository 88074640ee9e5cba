"""How a rule of the game is compiled: to be called by other compiled code, and by nothing else."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba import njit, types


def rule(function: Callable[..., Any]) -> Any:
    """Compile a function once, be its whole numbers constants or of whatever width.

    Numba would compile it anew for each width, and for each constant that it is called with; a
    level's first call would take twice as long. There are no entries for Python and C either.
    """
    compiled = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    find_template = compiled.get_call_template

    def find_widened(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return find_template(
            tuple(widen(arg) for arg in args), {name: widen(kws[name]) for name in kws}
        )

    compiled.get_call_template = find_widened
    return compiled


def widen(kind: Any) -> Any:
    """int64 for signed and small unsigned integers, be they constants; other types as they are."""
    kind = types.unliteral(kind)
    if isinstance(kind, types.Integer) and (kind.signed or kind.bitwidth < 64):
        return types.int64
    return kind


def fingerprint(function: Callable[..., Any]) -> str:
    """A digest of all that a function is made of, the engine apart."""
    digest = hashlib.sha256()
    for part in ingredients(function, set()):
        digest.update(part)
    return digest.hexdigest()


def ingredients(function: Callable[..., Any], seen: set[Callable[..., Any]]) -> Iterator[bytes]:
    """A function's code, and all that it names or closes over; compiled functions' likewise."""
    seen.add(function)
    code, named = function.__code__, inspect.getclosurevars(function)
    yield code.co_code + repr((code.co_consts, code.co_names, code.co_varnames)).encode()
    for name, value in sorted({**named.globals, **named.nonlocals}.items()):
        yield name.encode()
        called = getattr(value, "py_func", None)
        if called is None:
            yield contents(value)
        elif called not in seen and called.__module__.rpartition(".")[0] != __package__:
            yield from ingredients(called, seen)


def contents(value: Any) -> bytes:
    """What a constant or a module holds."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, ModuleType):
        path = getattr(value, "__file__", None)
        return Path(path).read_bytes() if path else b""
    return repr(value).encode()
