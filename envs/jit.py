"""Compiling the engine's functions, to be called by other compiled code only, and keeping kernels
made of them on disk.

Functions made for something (a level, an observation, a row of a table) must be renamed after it
before they are compiled: machine code from the disk cache is linked by name, and Numba makes names
unique within one process only, so that two processes' code cached under one name would be confused.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from glob import escape
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numba import njit, types

Function = TypeVar("Function", bound=Callable[..., Any])

OURS = f"{__package__}."  # what our modules' names begin with
PLAIN = (bool, int, float, str, bytes, tuple, np.ndarray, np.generic)  # constants in a module
SHORT = 16  # letters of a digest that names have


class Compiled(Protocol):
    """A compiled function, as Python code that passes it on sees it."""

    py_func: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call it, from compiled code."""

    def __hash__(self) -> int: ...


def compiled(function: Function, unique: bool = False) -> Function:
    """Compile a function once, whatever the width of its integers and whether they are constants.

    Numba would compile it anew for each width and each constant that it is called with, which would
    double the time of a level's first call. There are no entry points for Python and C either.

    Args:
        function: it is renamed after its contents if it is not the engine's.
        unique: it has a name that nothing else has in any process.
    """
    if not (unique or (function.__module__ or "").startswith(OURS)):
        function.__qualname__ += f"-{fingerprint(function)[:SHORT]}"
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


def ingredients(function: Callable[..., Any], seen: set[object]) -> Iterator[bytes]:
    """A function's code and all that it names or closes over; recursive for compiled functions."""
    seen.add(function)
    code: CodeType = function.__code__
    yield instructions(code)
    yield repr((function.__defaults__, function.__kwdefaults__)).encode()
    names = names_in(code)
    for name, value in sorted(named(function, names).items()):
        yield name.encode()
        yield from contents(value, names, seen)


def named(function: Callable[..., Any], names: set[str]) -> dict[str, object]:
    """The globals of these names, and what the function closes over. A name may be an attribute's
    instead: ``e.rule`` brings `envs.rules.rule`.
    """
    closed = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    known = {name: function.__globals__[name] for name in names & {*function.__globals__}}
    return known | {name: cell.cell_contents for name, cell in closed}


def names_in(code: CodeType) -> set[str]:
    """The names of globals and attributes in a code object, nested code included."""
    nested = [const for const in code.co_consts if isinstance(const, CodeType)]
    return {*code.co_names}.union(*map(names_in, nested))


def instructions(code: CodeType) -> bytes:
    """A code object's own bytes, with its constants and names."""
    return code.co_code + repr((constants(code), code.co_names, code.co_varnames)).encode()


def constants(code: CodeType) -> tuple[object, ...]:
    """A code object's constants; nested code, whose repr has an address, by its contents."""
    return tuple(
        (const.co_code, constants(const)) if isinstance(const, CodeType) else const
        for const in code.co_consts
    )


def contents(value: object, names: set[str], seen: set[object]) -> Iterator[bytes]:
    """The bytes that identify what a function names: a constant, a function, compiled or not, or a
    module, of which the source counts, and its functions and constants of these names.
    """
    called = getattr(value, "py_func", None)
    if called is not None:
        if called not in seen:
            yield from ingredients(called, seen)
    elif isinstance(value, ModuleType):
        path = getattr(value, "__file__", None)
        yield Path(path).read_bytes() if path else b""
        for name in sorted(names & {*vars(value)}):
            held = vars(value)[name]
            if hasattr(held, "py_func") or isinstance(held, PLAIN):
                yield name.encode()
                yield from contents(held, names, seen)
    elif inspect.isfunction(value):
        yield instructions(value.__code__)
    elif isinstance(value, np.ndarray):
        yield repr((value.dtype, value.shape)).encode() + value.tobytes()
    elif isinstance(value, type) and issubclass(value, Enum):
        yield repr([*value]).encode()
    else:
        yield repr(value).encode()


class KernelCache:
    """What Numba's disk caches lack to keep our kernels, before one of them among the bases.

    A kernel is valid while nothing that it is made of changes: Numba's own check only the file of
    the function, not what it calls. Each stamp has files of its own, as an index that is written
    before its data would point to older data otherwise; those of other stamps are deleted. What
    cannot be stored or read is compiled.

    Args:
        kernel: the function.
        name: of its files.
        stamp: of all that it is made of.
    """

    def __init__(self, kernel: Callable[..., object], name: str, stamp: str) -> None:
        super().__init__(kernel)  # type: ignore[call-arg]
        make_file = type(vars(self)["_cache_file"])  # its module differs between versions
        self._folder = Path(vars(self)["_cache_path"])
        self._name, self._stamp = name, stamp[:SHORT]
        self._cache_file = make_file(str(self._folder), f"{name}-{self._stamp}", stamp)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel for these types, or None."""
        with noted("read"):
            return super().load_overload(sig, target_context)  # type: ignore[misc]

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the kernel for these types."""
        with noted("kept"):
            super().save_overload(sig, data)  # type: ignore[misc]
            for file in self._folder.glob(f"{escape(self._name)}-{'?' * SHORT}.*nb[ci]"):
                if not file.name.startswith(f"{self._name}-{self._stamp}."):
                    file.unlink(missing_ok=True)


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Turn errors inside the block into warnings."""
    try:
        yield
    except Exception as error:  # of pickle, the file system or the driver
        warnings.warn(f"a compiled kernel cannot be {what}: {error}", stacklevel=2)
