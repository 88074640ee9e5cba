"""Errors that the user can correct: one line that says what is wrong and what was likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

MANY = 30  # choices that a message lists at most, if none is similar


class UsageError(ValueError):
    """Bad input; the command line prints it as one line and exits with code 2."""


@contextmanager
def as_usage_errors() -> Iterator[None]:
    """Raise an environment's `ValueError` as a `UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


@cache
def note(message: str) -> None:
    """Print, once, a problem that has been dealt with."""
    print(f"note        {message}", flush=True)


def check_positive(**numbers: float) -> None:
    """Raise unless every number, given by name, is above zero."""
    for name, number in numbers.items():
        if not number > 0:
            raise UsageError(f"{name} must be positive, got {number}")


def check_between(low: float, high: float, **numbers: float) -> None:
    """Raise unless every number, given by name, lies in [low, high]."""
    for name, number in numbers.items():
        if not low <= number <= high:
            raise UsageError(f"{name} must lie between {low} and {high}, got {number}")


def check_seed(seed: int) -> None:
    """Raise unless all random number generators used here accept the seed."""
    check_between(0, 2**32 - 1, seed=seed)


def check_choice(name: str, given: str, choices: Iterable[str]) -> None:
    """Raise unless `given` is one of the choices; the message names the nearest."""
    known = list(choices)
    if given not in known:
        raise UsageError(f"unknown {name} {given!r}; nearest: {', '.join(nearest(given, known))}")


def nearest(given: str, choices: Iterable[str]) -> list[str]:
    """Up to three of the choices, most similar first, ignoring case; if none is similar, all of
    them or, of more than `MANY`, the least dissimilar.
    """
    known = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(given.lower(), known, 3, 0.4 if len(known) <= MANY else 0)
    return [known[name] for name in near or known]
