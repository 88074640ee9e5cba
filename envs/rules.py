"""The game's rules as two tables, and the step compiled from them.

A new action or rule is a function (or two) and a row; ``step`` tests the rows in order. A rule of
one's own is registered by name (``@rule``), and compiled into the step of batches that have it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar, cast

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
from .jit import Compiled, compiled
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
from .mistakes import describe, explain, is_in, unknown
from .record import Record

Act = Callable[[Record], None]
ActByNumber = Callable[[Record, int], None]
Before = Callable[[Record, int], tuple[int, int]]
After = Callable[[Record, int, int], None]
Function = TypeVar("Function", bound=Callable[..., object])


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
            lava do. One of the engine's is not called if there is an instruction, which judges
            then; one of one's own is, after it.
    """

    number: int
    name: str
    before: Before | None
    after: After | None

    @property
    def functions(self) -> list[Compiled]:
        """Those of the two that there are."""
        return [cast(Compiled, each) for each in (self.before, self.after) if each]


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


OWN: dict[str, tuple[Before | None, After]] = {}


def rule(name: str, before: Before | None = None) -> Callable[[After], After]:
    """Register a function ``(e, action, noted)`` as the ``after`` of a rule of one's own.

    Args:
        name: for ``@level(rule=name)``.
        before: its ``before``, as in `Rule`.

    Raises:
        ValueError: the name of one of the engine's rules, or a function with other arguments.

    Example:
        >>> @rule("hurry")
        ... def hurry(e, action, noted):
        ...     if not e.terminated:
        ...         e.reward = -0.01
    """
    if any(name == row.name for row in RULES):
        raise ValueError(f"there is already a rule '{name}'")

    def register(after: After) -> After:
        first = before and compile_for_rule(name, before, ("e", "action"))
        OWN[name] = first, compile_for_rule(name, after, ("e", "action", "noted"))
        return after

    return register


def compile_for_rule(name: str, function: Function, arguments: tuple[str, ...]) -> Function:
    """Compile a function that takes as many arguments, unless it is compiled already."""
    source = getattr(function, "py_func", function)
    given = list(inspect.signature(source).parameters)
    if len(given) != len(arguments):
        raise ValueError(
            f"rule '{name}': {source.__name__} takes ({', '.join(given)}) "
            f"instead of ({', '.join(arguments)})"
        )
    if source is not function:
        return function
    function.__qualname__ += f"-{name}"  # see envs.jit
    return compiled(function, unique=True)


def own_rules(names: Iterable[str]) -> tuple[Rule, ...]:
    """The rules of one's own among these, once each, numbered in their order."""
    own = [name for name in dict.fromkeys(names) if name in OWN]
    return tuple(Rule(len(RULES) + i, name, *OWN[name]) for i, name in enumerate(own))


def rule_number(name: str, own: Sequence[Rule] = ()) -> int:
    """The number of the rule of that name, one of the engine's or of these.

    Raises:
        ValueError: there is none.
    """
    for row in (*RULES, *own):
        if row.name == name:
            return row.number
    raise unknown("rule", name, [*(row.name for row in RULES), *OWN])


def explain_rules(own: Sequence[Rule], error: Exception) -> str:
    """Which of these rules the mistake is in, as far as known, where, and what it is."""
    for row in own:
        for function in row.functions:
            if is_in(function.py_func, error):
                return f"rule '{row.name}': {explain(function.py_func, error)}"
    return f"rule {' or '.join(repr(row.name) for row in own)}: {describe(error)}"


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
for _action in reversed(ACTIONS):
    if _action.act:
        act = link_action(_action.number, _action.name, _action.act, act)


def tag_of(own: Sequence[Rule]) -> str:
    """What the names of functions made with these rules end in (see envs.jit), for none nothing."""
    names = repr([(row.number, row.name) for row in own])
    return f"-{hashlib.sha256(names.encode()).hexdigest()[:16]}" if own else ""


def link_rules(
    rules: Sequence[Rule], tag: str, prepare: Before, judge: After
) -> tuple[Before, After]:
    """The functions that run the level's rule if it is one of these, and otherwise those given."""
    for number, name, before, after in reversed(rules):
        if before:
            prepare = link_before(number, name + tag, before, prepare)
        if after:
            judge = link_after(number, name + tag, after, judge)
    return prepare, judge


_PREPARE, _JUDGE = link_rules(RULES, "", as_chosen, judge_nothing)


@functools.cache
def make_step(own: tuple[Rule, ...]) -> Before:
    """The function that steps one environment, whose rule is one of the engine's or of these. The
    record then holds reward, terminated and truncated; it returns what ``after`` is given.
    """
    prepare, judge_own = link_rules(own, tag_of(own), _PREPARE, judge_nothing)

    def step(e: Record, action: int) -> tuple[int, int]:
        e.steps += 1
        e.reward, e.terminated = 0.0, 0
        action, noted = prepare(e, action)
        act(e, action)
        e.truncated = e.steps >= e.max_steps
        if e.root:
            verify(e, action)
        else:
            _JUDGE(e, action, noted)
        return action, noted

    step.__qualname__ = f"step{tag_of(own)}"
    play = compiled(step)

    def step_and_judge(e: Record, action: int) -> tuple[int, int]:
        action, noted = play(e, action)
        judge_own(e, action, noted)
        return action, noted

    step_and_judge.__qualname__ = f"judged{tag_of(own)}"
    return compiled(step_and_judge) if own else play  # the call alone would cost a fifth
