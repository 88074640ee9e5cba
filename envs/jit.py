"""Compiling the engine's functions, to be called by other compiled code only.

Functions made for something (a level, an observation, a row of a table) must be renamed after it
before they are compiled: machine code from the disk cache is linked by name, and Numba makes names
unique within one process only, so that two processes' code cached under one name would be confused.
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
    """A compiled function, as Python code that passes it on sees it."""

    py_func: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call it, from compiled code."""

    def __hash__(self) -> int: ...


def compiled(function: Function) -> Function:
    """Compile a function once, whatever the width of its integers and whether they are constants.

    Numba would compile it anew for each width and each constant that it is called with, which would
    double the time of a level's first call. There are no entry points for Python and C either.
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
    """int64 for signed and small unsigned integers, literal or not; other types unchanged."""
    kind = types.unliteral(kind)
    if isinstance(kind, types.Integer) and (kind.signed or kind.bitwidth < 64):
        return types.int64
    return kind


def compiler_of(file: str) -> bytes:
    """The contents of the file that compiles kernels, and of this one."""
    return b"".join(Path(each).read_bytes() for each in (file, __file__))


def stamp_of(kernel: Callable[..., Any], compiler: bytes) -> str:
    """A digest of everything that a kernel is made of, and of what compiles it."""
    return hashlib.sha256(compiler + fingerprint(kernel).encode()).hexdigest()


def is_kept(function: Compiled) -> bool:
    """Whether kernels made of a function can be cached on disk: Numba needs its source file and
    module, which a function typed in lacks.
    """
    source = function.py_func
    return Path(inspect.getfile(source)).is_file() and inspect.getmodule(source) is not None


def fingerprint(function: Callable[..., Any]) -> str:
    """A digest of everything that a function is made of: its code, and that of what it calls."""
    digest = hashlib.sha256()
    for part in ingredients(function, set()):
        digest.update(part)
    return digest.hexdigest()


def ingredients(function: Callable[..., Any], seen: set[Callable[..., Any]]) -> Iterator[bytes]:
    """A function's code and all that it names or closes over; recursive for compiled functions."""
    seen.add(function)
    code, named = function.__code__, inspect.getclosurevars(function)
    yield instructions(code)
    for name, value in sorted({**named.globals, **named.nonlocals}.items()):
        yield name.encode()
        called = getattr(value, "py_func", None)
        if called is None:
            yield contents(value)
        elif called not in seen:
            yield from ingredients(called, seen)


def instructions(code: CodeType) -> bytes:
    """A code object's own bytes, with its constants and names."""
    return code.co_code + repr((constants(code), code.co_names, code.co_varnames)).encode()


def constants(code: CodeType) -> tuple[object, ...]:
    """A code object's constants; nested code, whose repr has an address, by its contents."""
    return tuple(
        (const.co_code, constants(const)) if isinstance(const, CodeType) else const
        for const in code.co_consts
    )


def contents(value: object) -> bytes:
    """The bytes that identify a constant, a module's source or a function that is not compiled: an
    attribute's name is taken for that of a global, ``e.rule`` for `envs.rules.rule`.
    """
    if inspect.isfunction(value):
        return instructions(value.__code__)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, ModuleType):
        path = getattr(value, "__file__", None)
        return Path(path).read_bytes() if path else b""
    return repr(value).encode()
