"""Settings: trees of frozen dataclasses, with leaves addressed by path and stored as JSON.

A `Variant` is a dataclass chosen by name among those registered under its kind; in JSON its name
comes first. A path joins field names with dots: ``fast.learning_rate``. A field with the metadata
`FLAT` adds nothing to the path of its contents, one with `NAMED` its variant's name, and one with
``{"path": "from"}`` that word instead of its own name.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import ClassVar, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from . import registry
from .errors import UsageError, check_choice

Leaf = str | int | float | bool | None | tuple["Leaf", ...]
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
Settings = TypeVar("Settings")

NAME = "name"  # key of a variant's name, in JSON


@dataclass(frozen=True)
class Variant:
    """A configuration chosen by name among those of its kind."""

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """The name that the class is registered under."""
        return registry.name_of(self.kind, type(self))


FLAT = {"path": ""}  # metadata of a field that adds nothing to the path of its contents
NAMED = {"path": NAME}  # metadata of a field that adds its variant's name


def segments(settings: object) -> dict[str, str]:
    """What each field of a dataclass adds to a path."""
    found = {}
    for field in fields(settings):  # type: ignore[arg-type]
        own = field.metadata.get("path", field.name)
        found[field.name] = getattr(settings, field.name).name if own == NAME else own
    return found


def flatten(settings: object) -> dict[str, Leaf]:
    """All leaves by path; a variant's name is a leaf, too, at the path of its field."""
    leaves: dict[str, Leaf] = {}
    for name, segment in segments(settings).items():
        value = getattr(settings, name)
        if not is_dataclass(value):
            leaves[segment] = value
            continue
        if isinstance(value, Variant) and segment:
            leaves[name] = value.name
        prefix = f"{segment}." if segment else ""
        leaves |= {f"{prefix}{path}": leaf for path, leaf in flatten(value).items()}
    return leaves


def replace_at(settings: Settings, changes: Mapping[str, object]) -> Settings:
    """The settings with the leaves at some paths replaced, all at once; variants are given by name.

    Raises:
        UsageError: there is no such path (the message names the nearest), or a value has the wrong
            type.
    """
    return _replaced(settings, dict(changes), "")


def _replaced(settings: Settings, changes: dict[str, object], above: str) -> Settings:
    kinds, changed = field_types(cast(type, type(settings))), {}
    for name, segment in segments(settings).items():
        inner = getattr(settings, name)
        own = name if is_dataclass(inner) else segment
        if segment and own in changes:
            value = changes.pop(own)
            content = {NAME: value} if isinstance(inner, Variant) else value
            changed[name] = inner = read_json(kinds[name], content, f"{above}{own}")
            segment = inner.name if segment != name and isinstance(inner, Variant) else segment
        within = _take_below(segment, inner, changes)
        if within:
            changed[name] = _replaced(inner, within, f"{above}{segment}." if segment else above)
    for path in changes:
        check_choice("setting", above + path, [above + known for known in flatten(settings)])
    return replace(settings, **changed)  # type: ignore[type-var]


def _take_below(segment: str, inner: object, changes: dict[str, object]) -> dict[str, object]:
    """Remove from `changes` those inside a field's value; returns them by path within it."""
    if not is_dataclass(inner):
        return {}
    prefix = f"{segment}." if segment else ""
    heads = {path.split(".")[0] for path in flatten(inner)}
    within = {path: path.removeprefix(prefix) for path in changes if path.startswith(prefix)}
    return {
        inside: changes.pop(path)
        for path, inside in within.items()
        if segment or inside.split(".")[0] in heads
    }


def differences(settings: object, other: object) -> dict[str, Leaf]:
    """The leaves of `settings` that differ from those of `other`, by path."""
    theirs = flatten(other)
    return {
        path: leaf
        for path, leaf in flatten(settings).items()
        if path not in theirs or theirs[path] != leaf
    }


def as_json(settings: object) -> Json:
    """Settings as JSON-compatible values."""
    if is_dataclass(settings) and not isinstance(settings, type):
        content = {f.name: as_json(getattr(settings, f.name)) for f in fields(settings)}
        return {NAME: settings.name, **content} if isinstance(settings, Variant) else content
    if isinstance(settings, tuple | list):
        return [as_json(value) for value in settings]
    if settings is None or isinstance(settings, str | int | float | bool):
        return settings
    return str(settings)


def read_json(kind: object, content: object, path: str) -> object:
    """A value of type `kind` from JSON written by `as_json`; missing settings take their defaults.

    Raises:
        UsageError: the value has another type, or contains an unknown setting.
    """
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if content is None and type(None) in options:
        return None
    kind = next(option for option in options if option is not type(None))
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_dataclass(kind, content, path)
    if get_origin(kind) is tuple and isinstance(content, list | tuple):
        (item, *_) = get_args(kind)
        return tuple(read_json(item, each, path) for each in content)
    if kind is float and type(content) is int:
        return float(content)
    if type(content) is kind:
        return content
    wanted = "list" if get_origin(kind) is tuple else getattr(kind, "__name__", str(kind))
    raise UsageError(f"{path} must be of type {wanted}, got {content!r}")


def _read_dataclass(kind: type, content: object, path: str) -> object:
    if not isinstance(content, Mapping):
        raise UsageError(f"{path} must be a mapping of settings, got {content!r}")
    given = dict(content)
    if issubclass(kind, Variant):
        kind = cast(type, registry.find(kind.kind, str(given.pop(NAME, None))))
    known = field_types(kind)
    for name in given:
        check_choice(f"setting of {path}", name, known)
    values = {name: read_json(known[name], each, f"{path}.{name}") for name, each in given.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"{path} is incomplete: {error}") from None


@cache
def field_types(kind: type) -> dict[str, object]:
    """The types of a dataclass's fields."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
