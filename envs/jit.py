"""How the engine's functions are compiled: to be called by other compiled code, and nothing else.

Functions that are made for something (a level, an observation, a row of a table) must be renamed
after it before they are compiled: machine code from the disk cache is linked by name, and Numba
makes names unique within one process only, so that what two processes cached under one name would
be taken for one another.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numba import njit, types

Function = TypeVar("Function", bound=Callable[..., Any])


class Compiled(Protocol):
    """A compiled function, as those see it who pass it on."""

    py_func: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call it, from compiled code."""

    def __hash__(self) -> int: ...


def compiled(function: Function) -> Function:
    """Compile a function once, be its whole numbers constants or of whatever width.

    Numba would compile it anew for each width, and for each constant that it is called with; a
    level's first call would take twice as long. There are no entries for Python and C either.
    """
    dispatcher = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    find_template = dispatcher.get_call_template

    def find_widened(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return find_template(
            tuple(widen(arg) for arg in args), {name: widen(kws[name]) for name in kws}
        )

    dispatcher.get_call_template = find_widened
    return cast(Function, dispatcher)


def widen(kind: types.Type) -> types.Type:
    """int64 for signed and small unsigned integers, be they constants; other types as they are."""
    kind = types.unliteral(kind)
    if isinstance(kind, types.Integer) and (kind.signed or kind.bitwidth < 64):
        return types.int64
    return kind


def compiler_of(file: str) -> bytes:
    """The file that compiles kernels, and this one, as they are when it is imported."""
    return b"".join(Path(each).read_bytes() for each in (file, __file__))


def stamp_of(kernel: Callable[..., Any], compiler: bytes) -> str:
    """A digest of all that a kernel is made of, and of what compiles it."""
    return hashlib.sha256(compiler + fingerprint(kernel).encode()).hexdigest()


def is_kept(function: Compiled) -> bool:
    """Whether what is made of a function can be kept on disk: Numba could not find again what was
    typed in, or is of no module.
    """
    source = function.py_func
    return Path(inspect.getfile(source)).is_file() and inspect.getmodule(source) is not None


def fingerprint(function: Callable[..., Any]) -> str:
    """A digest of all that a function is made of: its code, and that of whatever it calls."""
    digest = hashlib.sha256()
    for part in ingredients(function, set()):
        digest.update(part)
    return digest.hexdigest()


def ingredients(function: Callable[..., Any], seen: set[Callable[..., Any]]) -> Iterator[bytes]:
    """A function's code, and all that it names or closes over; compiled functions' likewise."""
    seen.add(function)
    code, named = function.__code__, inspect.getclosurevars(function)
    yield code.co_code + repr((constants(code), code.co_names, code.co_varnames)).encode()
    for name, value in sorted({**named.globals, **named.nonlocals}.items()):
        yield name.encode()
        called = getattr(value, "py_func", None)
        if called is None:
            yield contents(value)
        elif called not in seen:
            yield from ingredients(called, seen)


def constants(code: CodeType) -> tuple[object, ...]:
    """A code object's constants; of code inside it, which shows an address, its own."""
    return tuple(
        (const.co_code, constants(const)) if isinstance(const, CodeType) else const
        for const in code.co_consts
    )


def contents(value: object) -> bytes:
    """What a constant or a module holds."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, ModuleType):
        path = getattr(value, "__file__", None)
        return Path(path).read_bytes() if path else b""
    return repr(value).encode()
