"""The game's rules as two tables, and the step compiled from them.

A new action or rule is a function (or two) and a row; ``step`` tests the rows in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .actions import (
    DONE,
    DROP,
    FORWARD,
    LEFT,
    PICKUP,
    RIGHT,
    TOGGLE,
    drop,
    move_forward,
    pick_up_front,
    toggle,
    turn_left,
    turn_right,
)
from .instructions import verify
from .jit import compiled
from .level_rules import (
    compare_memory,
    judge_done,
    judge_fetched,
    judge_order,
    judge_put_near,
    move_obstacles,
    note_held,
    note_open,
    punish_collision,
    toggle_for_pickup,
)
from .record import Record

Act = Callable[[Record], None]
ActByNumber = Callable[[Record, int], None]
Before = Callable[[Record, int], tuple[int, int]]
After = Callable[[Record, int, int], None]


class Action(NamedTuple):
    """One action.

    Attributes:
        number: as the agent chooses it.
        name: upstream's.
        act: compiled function ``(e)`` that performs it; None: it changes nothing.
    """

    number: int
    name: str
    act: Act | None


class Rule(NamedTuple):
    """One rule of particular levels.

    Attributes:
        number: as in the record.
        name: as in ``@level``.
        before: compiled function ``(e, action)`` to ``(action, noted)`` that runs before the action
            and returns the one to take instead, and a number for ``after``; None: no change.
        after: compiled function ``(e, action, noted)`` that judges the outcome; None: only goal and
            lava do. Not called if there is an instruction, which judges then.
    """

    number: int
    name: str
    before: Before | None
    after: After | None


ACTIONS = (
    Action(LEFT, "left", turn_left),
    Action(RIGHT, "right", turn_right),
    Action(FORWARD, "forward", move_forward),
    Action(PICKUP, "pickup", pick_up_front),
    Action(DROP, "drop", drop),
    Action(TOGGLE, "toggle", toggle),
    Action(DONE, "done", None),  # matters to some missions only
)

RULES = (
    Rule(0, "standard", None, None),
    Rule(1, "obstacles", move_obstacles, punish_collision),
    Rule(2, "memory", toggle_for_pickup, compare_memory),
    Rule(3, "say-done", None, judge_done),
    Rule(4, "fetch", None, judge_fetched),
    Rule(5, "put-near", note_held, judge_put_near),
    Rule(6, "in-order", note_open, judge_order),
)


def rule_number(name: str) -> int:
    """The number of the rule of that name.

    Raises:
        ValueError: there is none.
    """
    for rule in RULES:
        if rule.name == name:
            return rule.number
    raise ValueError(f"unknown rule '{name}': choose from {', '.join(rule.name for rule in RULES)}")


# --- from tables to compiled code ---------------------------------------------------------------
# Each row becomes a function that tests for its own number and otherwise calls the next row's.


def link_action(number: int, name: str, act: Act, otherwise: ActByNumber) -> ActByNumber:
    """The function that performs one action if it is the chosen one."""

    def run(e: Record, action: int) -> None:
        if action == number:
            act(e)
        else:
            otherwise(e, action)

    run.__qualname__ = f"action-{name}"  # see envs.jit
    return compiled(run)


def link_before(number: int, name: str, prepare: Before, otherwise: Before) -> Before:
    """The function that runs one rule's ``before`` if it is the level's."""

    def run(e: Record, action: int) -> tuple[int, int]:
        if e.rule == number:
            return prepare(e, action)
        return otherwise(e, action)

    run.__qualname__ = f"before-{name}"
    return compiled(run)


def link_after(number: int, name: str, judge: After, otherwise: After) -> After:
    """The function that runs one rule's ``after`` if it is the level's."""

    def run(e: Record, action: int, noted: int) -> None:
        if e.rule == number:
            judge(e, action, noted)
        else:
            otherwise(e, action, noted)

    run.__qualname__ = f"after-{name}"
    return compiled(run)


@compiled
def do_nothing(e: Record, action: int) -> None:
    """The effect of an action without a function, or of an unknown number."""


@compiled
def as_chosen(e: Record, action: int) -> tuple[int, int]:
    """The action, unchanged."""
    return action, 0


@compiled
def judge_nothing(e: Record, action: int, noted: int) -> None:
    """No rule besides goal and lava."""


act: ActByNumber = do_nothing
prepare: Before = as_chosen
judge: After = judge_nothing
for _action in reversed(ACTIONS):
    if _action.act:
        act = link_action(_action.number, _action.name, _action.act, act)
for _rule in reversed(RULES):
    if _rule.before:
        prepare = link_before(_rule.number, _rule.name, _rule.before, prepare)
    if _rule.after:
        judge = link_after(_rule.number, _rule.name, _rule.after, judge)


@compiled
def step(e: Record, action: int) -> None:
    """Step one environment; the record then holds reward, terminated and truncated."""
    e.steps += 1
    e.reward, e.terminated = 0.0, 0
    action, noted = prepare(e, action)
    act(e, action)
    e.truncated = e.steps >= e.max_steps
    if e.root:
        verify(e, action)
    else:
        judge(e, action, noted)
