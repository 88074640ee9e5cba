"""What is found by name: every seam of the package is a kind of entry in one registry.

| kind | an entry is |
|---|---|
| ``preset`` | a `RunConfig`: an agent and how it learns |
| ``agent`` | a configuration that makes an agent, see `metarims.protocols.AgentConfig` |
| ``core`` | a configuration that builds the part of an agent which remembers |
| ``decision maker`` | a configuration that builds what a router chooses by and learns with |
| ``algorithm`` | a configuration that learns from sequences, see `metarims.algorithms` |
| ``diagnostic`` | a function of a rollout to named figures, see `metarims.diagnostics` |

Levels are the environments' own, found by their ids.
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

from .errors import UsageError, check_choice

Entry = TypeVar("Entry")

_ENTRIES: dict[str, dict[str, object]] = {}


def register(kind: str, name: str) -> Callable[[Entry], Entry]:
    """Enter what follows, a class, a function or a value, under a name.

    Raises:
        UsageError: the name is taken by something else.

    Example:
        >>> @register("diagnostic", "value_spread")
        ... def value_spread(rollout):
        ...     return {"value/spread": rollout.values.std()}
    """
    entries = _ENTRIES.setdefault(kind, {})

    def enter(entry: Entry) -> Entry:
        if name in entries and _origin(entries[name]) != _origin(entry):
            raise UsageError(f"there is a {kind} named {name!r} already")
        entries[name] = entry
        return entry

    return enter


def find(kind: str, name: str) -> object:
    """The entry of that name.

    Raises:
        UsageError: there is none; the message has the nearest, and how others get there.
    """
    entries = _ENTRIES.get(kind, {})
    try:
        check_choice(kind, name, entries)
    except UsageError as error:
        raise UsageError(f"{error} (--import FILE loads more)") from None
    return entries[name]


def names(kind: str) -> list[str]:
    """The names of all entries of a kind, in the order they were entered."""
    return list(_ENTRIES.get(kind, {}))


def name_of(kind: str, entry: object) -> str:
    """The name that an entry was entered under.

    Raises:
        UsageError: it was not.
    """
    for name, known in _ENTRIES.get(kind, {}).items():
        if known is entry:
            return name
    raise UsageError(f"{entry!r} is no registered {kind}")


def import_modules(package: str) -> None:
    """Import every module of a package, so that what they register is known: a new file there is
    found by itself.
    """
    for found in pkgutil.iter_modules(sys.modules[package].__path__, f"{package}."):
        importlib.import_module(found.name)


def import_file(path: Path) -> ModuleType:
    """Run a user's own file, which registers entries; once for each file.

    Raises:
        UsageError: it is not there, is no Python file or fails; the message has its last line.
    """
    path = path.resolve()
    name = f"imported_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"cannot import {path}: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and compiled functions look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"cannot import {path}: {type(error).__name__}: {error}") from error
    return module


def _origin(entry: object) -> object:
    """Where an entry comes from: a file that is run again enters the same ones."""
    return getattr(entry, "__module__", None), getattr(entry, "__qualname__", entry)
