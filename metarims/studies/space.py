"""What a search varies: settings by path, each with its range or its choices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config import OF_NO_MATTER, RunConfig
from ..errors import UsageError, check_choice
from ..settings import Leaf, flatten, replace_at

GIVEN = ("env", "seed", "out", "frames", "pictures")  # settings that a search gives each trial
DIGITS = 2  # significant digits of values drawn from a range, or of its width if that is less


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, log-uniform; integers if both ends are."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise UsageError(f"a range needs 0 < LOW < HIGH, got {self.low}..{self.high}")

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def has(self, leaf: Leaf) -> bool:
        """Whether a value is in the range."""
        return isinstance(leaf, int | float) and self.low <= leaf <= self.high

    def rounded(self, drawn: float) -> float:
        """A drawn value as trained with and reported, within the range."""
        if self.is_whole:
            return drawn
        least = math.floor(math.log10(min(drawn, self.high - self.low)))
        return float(min(max(round(drawn, DIGITS - 1 - least), self.low), self.high))


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[str | int | float | bool, ...]

    def has(self, leaf: Leaf) -> bool:
        """Whether a value is one of them."""
        return leaf in self.values


Space = Mapping[str, Range | Choice]


def one_of(*values: str | int | float | bool) -> Choice:
    """Any of these values, equally likely."""
    return Choice(values)


def read_space(words: Sequence[str]) -> Space:
    """A space from words, ``PATH=LOW..HIGH`` or ``PATH=ONE,OTHER,...``; `UsageError` for others."""
    return dict(_read(word) for word in words)


def _read(word: str) -> tuple[str, Range | Choice]:
    path, _, values = word.partition("=")
    if not path or not values:
        raise UsageError(f"expected PATH=LOW..HIGH or PATH=ONE,OTHER, got {word!r}")
    path = path.removeprefix("--").replace("-", "_")
    low, is_range, high = values.partition("..")
    if not is_range:
        return path, Choice(tuple(map(_value, values.split(","))))
    ends = (_value(low), _value(high))
    if any(type(end) not in (int, float) for end in ends):
        raise UsageError(f"the ends of a range must be numbers, got {word!r}")
    return path, Range(*ends)  # type: ignore[arg-type]


def _value(word: str) -> str | int | float | bool:
    """The number or bool that a word spells, or else the word."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(word, word)


def space_of(config: RunConfig, space: Space) -> dict[str, Range | Choice]:
    """The part of a space that makes a difference to a preset.

    Raises:
        UsageError: a value is invalid for its setting.
    """
    there, idle = flatten(config), config.loops.idle
    own = {
        path: values
        for path, values in space.items()
        if path in there and not path.startswith(idle)
    }
    for path, values in own.items():
        ends = values.values if isinstance(values, Choice) else (values.low, values.high)
        for value in ends:
            replace_at(config, {path: value})
    return own


def check_space(configs: Sequence[RunConfig], space: Space) -> None:
    """Refuse a setting that none of the presets has or learns from, or that a search gives each
    trial, and invalid values.
    """
    known = {path for config in configs for path in flatten(config)}
    for path in space:
        check_choice("setting", path, known)
        if path in GIVEN:
            raise UsageError(f"a search cannot vary {path}: it gives each trial its own")
    used = {path for config in configs for path in space_of(config, space)}
    for path in space:
        if path not in used or path in OF_NO_MATTER:
            presets = ", ".join(config.preset for config in configs)
            raise UsageError(f"a search cannot vary {path}: {presets} learn the same with any")
