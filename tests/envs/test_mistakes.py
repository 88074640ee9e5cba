"""Mistakes in a level's function are reported in one line: where, and what."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

import envs
from envs import registry
from envs.cells import LAVA
from envs.mistakes import explain
from envs.world import set_agent, set_cell, walled


@pytest.fixture(autouse=True)
def own_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LEVELS", dict(registry.LEVELS))


def a_field_that_is_not_there(e: Any) -> None:
    walled(e)
    set_cell(e, 2, e.heigth - 3, LAVA)  # slip


def a_field_that_cannot_be_set(e: Any) -> None:
    walled(e)
    e.carying = 3  # slip


def a_name_that_is_not_there(e: Any) -> None:
    walled(e)
    set_sell(e, 2, 2, LAVA)  # type: ignore[name-defined]  # noqa: F821  # slip


def an_argument_too_few(e: Any) -> None:
    walled(e)
    set_agent(e, 1, 1)  # type: ignore[call-arg]  # slip


def a_word_for_a_number(e: Any) -> None:
    walled(e)
    set_cell(e, 2, 2, "lava")  # type: ignore[arg-type]  # slip


def what_is_not_compiled(e: Any) -> None:
    walled(e)
    set_agent(e, random.choice([1, 2]), 1, 0)  # slip


def a_division_by_zero(e: Any) -> None:
    """The line of an error at run time is unknown."""
    walled(e)
    set_agent(e, 3 // (e.width - 8), 1, 0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (a_field_that_is_not_there, "a record has no heigth; nearest: height"),
        (a_field_that_cannot_be_set, "a record has no carying; nearest: carrying"),
        (a_name_that_is_not_there, "name 'set_sell' is not defined"),
        (an_argument_too_few, "missing a required argument: 'direction'"),
        (a_word_for_a_number, "unicode_type"),
        (what_is_not_compiled, "Unknown attribute 'choice'"),
        (a_division_by_zero, "integer division by zero"),
    ],
)
def test_slips_are_told_in_a_line(function: Callable[..., None], message: str):
    mission = "get to the green goal square"
    envs.level("My-Slip-v0", size=8, max_steps=100, mission=mission)(function)
    with pytest.raises(ValueError, match=re.escape(message)) as told:
        envs.make("My-Slip-v0", num_envs=2).reset(seed=0)
    lines, first = inspect.getsourcelines(function)
    line = next((first + i for i, line in enumerate(lines) if "# slip" in line), first)
    assert str(told.value).startswith(f"My-Slip-v0: {__file__}:{line}: ")
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


def test_no_level_of_ones_own_takes_the_name_of_upstreams():
    with pytest.raises(ValueError, match="there is already a level MiniGrid-Empty-5x5-v0"):
        envs.level(
            "MiniGrid-Empty-5x5-v0", size=5, max_steps=9, mission="get to the green goal square"
        )(a_division_by_zero)


def test_of_a_function_without_a_file_the_name_is_told():
    names = {"walled": walled, "__name__": "typed"}
    exec("def typed(e):\n    walled(e)\n    e.grit[0] = 1", names)
    mission = "get to the green goal square"
    envs.level("My-Slip-v0", size=8, max_steps=100, mission=mission)(names["typed"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="My-Slip-v0: <string>:1: a record has no grit"):
        envs.make("My-Slip-v0", num_envs=2).reset(seed=0)


def test_a_compiler_that_says_nothing_is_quoted():
    assert explain(a_division_by_zero, ZeroDivisionError()).endswith(": ZeroDivisionError")
