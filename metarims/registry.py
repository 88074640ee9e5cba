"""The registry of what is chosen by name: each extension point of the package is a kind of entry.

| kind | an entry is |
|---|---|
| ``preset`` | a `RunConfig`: an agent and how it learns |
| ``agent`` | a configuration that makes an agent, see `metarims.protocols.AgentConfig` |
| ``core`` | a configuration that builds an agent's memory |
| ``decision maker`` | a configuration that builds a router's policy and its learning rule |
| ``algorithm`` | a configuration that learns from sequences, see `metarims.algorithms` |
| ``diagnostic`` | a function from a rollout to named figures, see `metarims.diagnostics` |

Levels belong to the environments, and are found by id.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import cloudpickle

from .errors import UsageError, check_choice

Entry = TypeVar("Entry")

_ENTRIES: dict[str, dict[str, object]] = {}


def register(kind: str, name: str) -> Callable[[Entry], Entry]:
    """Register a class, a function or a value under a name, as a decorator.

    Raises:
        UsageError: the name is taken by another entry.

    Example:
        >>> @register("diagnostic", "value_spread")
        ... def value_spread(rollout):
        ...     return {"value/spread": rollout.values.std()}
    """
    entries = _ENTRIES.setdefault(kind, {})

    def enter(entry: Entry) -> Entry:
        if name in entries and _origin(entries[name]) != _origin(entry):
            raise UsageError(f"there is already a {kind} named {name!r}")
        entries[name] = entry
        return entry

    return enter


def find(kind: str, name: str) -> object:
    """The entry of that name.

    Raises:
        UsageError: there is none; the message names the nearest, and how to load more.
    """
    entries = _ENTRIES.get(kind, {})
    try:
        check_choice(kind, name, entries)
    except UsageError as error:
        raise UsageError(f"{error} (--import FILE loads more)") from None
    return entries[name]


def names(kind: str) -> list[str]:
    """The names of all entries of a kind, in order of registration."""
    return list(_ENTRIES.get(kind, {}))


def name_of(kind: str, entry: object) -> str:
    """The name that an entry is registered under.

    Raises:
        UsageError: it is not registered.
    """
    for name, known in _ENTRIES.get(kind, {}).items():
        if known is entry:
            return name
    raise UsageError(f"{entry!r} is not a registered {kind}")


def import_modules(package: str) -> None:
    """Import every module of a package, new files included, so that its entries are registered."""
    for found in pkgutil.iter_modules(sys.modules[package].__path__, f"{package}."):
        importlib.import_module(found.name)


def import_file(path: Path) -> ModuleType:
    """Run a user's file, which registers entries; at most once.

    Raises:
        UsageError: it does not exist, is no Python file, or fails; the message has the exception.
    """
    given, path = path, path.resolve()
    name = f"imported_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        hint = "" if path.suffix == ".py" else f"; put {given} before --import"
        raise UsageError(f"cannot import {path}: it is not a Python file{hint}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and compiled functions look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"cannot import {path}: {type(error).__name__}: {error}") from error
    cloudpickle.register_pickle_by_value(module)  # other processes cannot import it by that name
    return module


def _origin(entry: object) -> object:
    """Where an entry is defined: a file that is run again registers the same ones."""
    return getattr(entry, "__module__", None), getattr(entry, "__qualname__", entry)
