"""Errors that are the user's to mend: one line that says what was wrong and what is near."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

MANY = 30  # choices that a line names


class UsageError(ValueError):
    """Bad input; the command line prints it as one line and ends with exit code 2."""


@contextmanager
def as_usage_errors() -> Iterator[None]:
    """What the environments refuse, by a `ValueError`, is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


@cache
def note(message: str) -> None:
    """Say, once, what is amiss and has been got over."""
    print(f"note        {message}", flush=True)


def check_positive(**numbers: float) -> None:
    """Raise unless every number, given by its name, is above zero."""
    for name, number in numbers.items():
        if not number > 0:
            raise UsageError(f"{name} must be positive, got {number}")


def check_between(low: float, high: float, **numbers: float) -> None:
    """Raise unless every number, given by its name, lies in [low, high]."""
    for name, number in numbers.items():
        if not low <= number <= high:
            raise UsageError(f"{name} must lie between {low} and {high}, got {number}")


def check_seed(seed: int) -> None:
    """Raise unless a seed is one that all random number generators here take."""
    check_between(0, 2**32 - 1, seed=seed)


def check_choice(name: str, given: str, choices: Iterable[str]) -> None:
    """Raise unless `given` is one of the choices; the message names the nearest."""
    known = list(choices)
    if given not in known:
        raise UsageError(f"unknown {name} {given!r}; nearest: {', '.join(nearest(given, known))}")


def nearest(given: str, choices: Iterable[str]) -> list[str]:
    """Up to three of the choices, the likest first, capitals aside; where none is like it all, or
    the first `MANY`.
    """
    known = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(given.lower(), known, 3, 0.4)
    rest = ["…"] if len(known) > MANY else []
    return [known[name] for name in near] or [*known.values()][:MANY] + rest
