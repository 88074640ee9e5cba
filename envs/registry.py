"""The registry of levels: a function draws one layout, each ``@level`` line is a variant of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import gymnasium
import numpy as np
from minigrid.envs.babyai.core.verifier import use_done_actions

from .cells import EMPTY
from .jit import Compiled, compiled
from .layouts import Layouts
from .mistakes import unknown
from .record import MAX_CELLS, MAX_ROOM_SIDE, MAX_ROOMS, MAX_WORDS, NOTHING
from .rules import Rule, own_rules, rule_number
from .vocabulary import encode


@dataclass(frozen=True)
class Level:
    """One level: its function, the function's arguments, and the settings of its records.

    Attributes:
        id: upstream's name, or your own.
        generate: compiled function ``(e, *params)`` that draws one layout into record ``e``, or
            upstream's code that draws them.
        params: the function's further arguments.
        width, height: of the grid, in cells.
        rooms: (room_size, rows, columns), zeros without a room grid.
        max_steps: the step limit; 0, with rooms only: set by the function, or computed from rooms
            and instruction.
        mission: the constant mission, "" if the function draws one.
        words: tokens of the longest mission.
        see_through: walls do not block the view.
        rule: the name of a row of ``envs.rules.RULES``, or of a rule of your own (``@rule``).
    """

    id: str
    generate: Compiled | Layouts = field(repr=False)
    params: tuple[int | float, ...]
    width: int
    height: int
    rooms: tuple[int, int, int]
    max_steps: int
    mission: str
    words: int
    see_through: bool
    rule: str

    def __post_init__(self) -> None:
        if not (self.width >= 3 and self.height >= 3 and self.width * self.height <= MAX_CELLS):
            raise ValueError(
                f"{self.id}: the grid must have 3x3 to {MAX_CELLS} cells, "
                f"got {self.width}x{self.height}"
            )
        if self.rooms[0] and (
            max(self.width, self.height) > MAX_ROOM_SIDE
            or self.rooms[1] * self.rooms[2] > MAX_ROOMS
        ):
            raise ValueError(
                f"{self.id}: a room grid has at most {MAX_ROOMS} rooms and "
                f"{MAX_ROOM_SIDE}x{MAX_ROOM_SIDE} cells, got rooms={self.rooms}"
            )
        if self.max_steps < 0 or (self.max_steps == 0 and not self.rooms[0]):
            raise ValueError(f"{self.id}: max_steps must be positive, got {self.max_steps}")
        if not 0 < self.words <= MAX_WORDS:
            raise ValueError(f"{self.id}: words must be 1 to {MAX_WORDS}, got {self.words}")
        rule_number(self.rule, own_rules([self.rule]))

    def limited(self, max_steps: int | None) -> Level:
        """The same level with another step limit (None: its own)."""
        return self if max_steps is None else replace(self, max_steps=max_steps)

    def set_up(self, records: np.ndarray, own: Sequence[Rule]) -> None:
        """Write the level's settings into its records [n], in a batch with these own rules."""
        records["full_width"], records["full_height"] = self.width, self.height
        records["step_limit"], records["rule"] = self.max_steps, rule_number(self.rule, own)
        records["see_through"] = self.see_through
        # Upstream reads BABYAI_DONE_ACTIONS; MiniGrid's own levels have no such mode.
        records["done_mode"] = bool(use_done_actions) and not self.id.startswith("MiniGrid-")
        records["room_size"], records["room_rows"], records["room_columns"] = self.rooms
        records["carrying"], records["held"] = EMPTY, NOTHING
        words = encode(self.mission)
        records["mission"][:, : len(words)] = words
        # Where it is drawn there is no room for a word before `say_nothing`.
        records["mission_length"] = len(words) if words else MAX_WORDS

    @property
    def function(self) -> Callable[..., object]:
        """The uncompiled function that draws the layouts, or upstream's factory."""
        drawn = self.generate
        return drawn.factory if isinstance(drawn, Layouts) else drawn.py_func

    @property
    def draws_mission(self) -> bool:
        """Whether the mission is drawn with each layout."""
        return not self.mission


LEVELS: dict[str, Level] = {}
_COMPILED: dict[Callable[..., None], Compiled] = {}


def level(
    id: str,
    *,
    size: int | tuple[int, int] | None = None,
    rooms: tuple[int, int, int] | None = None,
    max_steps: int = 0,
    mission: str = "",
    words: int = 0,
    see_through: bool = False,
    rule: str = "standard",
    **params: int | float,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function that draws layouts as a level; stack the decorator for variants.

    Args:
        id: the level's name; Gymnasium knows it as ``metarims/<id>``.
        size: side in cells, or (width, height), walls included.
        rooms: (room_size, rows, columns) of a room grid, instead of ``size``.
        max_steps: steps until truncation; 0, with ``rooms`` only, takes upstream's formula
            (navigations x room_size^2 x rows x columns).
        mission: the mission if it is constant; otherwise the function draws an instruction or
            writes the mission's words.
        words: tokens of the longest drawn mission (default: the most that a record holds).
        see_through: walls do not block the view.
        rule: the name of a row of ``envs.rules.RULES``, or of a rule of your own (``@rule``).
        params: the function's arguments after the record.

    Raises:
        ValueError: a size or number that does not fit a record, parameters that do not match the
            function's, the id of one of the engine's own levels, or one that Gymnasium refuses.

    Example:
        >>> @level("My-Corner-v0", size=9, max_steps=100, mission="get to the green goal square")
        ... def corner(e):
        ...     walled(e)
        ...     goal_in_corner(e)
        ...     set_agent(e, 1, 1, 0)
    """
    if (size is None) == (rooms is None):
        raise ValueError(f"{id}: give either size or rooms")
    width, height = grid_size(size, rooms)

    def register(function: Callable[..., None]) -> Callable[..., None]:
        names = list(inspect.signature(function).parameters)[1:]
        if sorted(names) != sorted(params):
            raise ValueError(
                f"{id}: {function.__name__} takes {names or 'nothing'}, got {sorted(params)}"
            )
        check_unused(id, function)
        if function not in _COMPILED:
            function.__qualname__ += f"-{id}"  # see envs.jit
            _COMPILED[function] = cast(Compiled, compiled(function, unique=True))
        added = Level(
            id=id,
            generate=_COMPILED[function],
            params=tuple(params[name] for name in names),
            width=width,
            height=height,
            rooms=rooms or (0, 0, 0),
            max_steps=max_steps,
            mission=mission,
            words=len(encode(mission)) if mission else words or MAX_WORDS,
            see_through=see_through,
            rule=rule,
        )
        tell_gymnasium(id)
        LEVELS[id] = added
        return function

    return register


def check_unused(id: str, function: Callable[..., None]) -> None:
    """Refuse the id of one of the engine's own levels, unless its own file registers it anew."""
    own = LEVELS[id].function.__module__ if id in LEVELS else ""
    if own.startswith(f"{__package__}.") and own != function.__module__:
        raise ValueError(f"there is already a level {id}")


def tell_gymnasium(id: str) -> None:
    """Register a level with Gymnasium as ``metarims/<id>``, in place of an earlier one.

    Raises:
        ValueError: Gymnasium refuses the id.
    """
    name, module = f"metarims/{id}", f"{__package__}.gym"
    gymnasium.registry.pop(name, None)
    try:
        gymnasium.register(
            name,
            entry_point=f"{module}:GymEnv",
            vector_entry_point=f"{module}:make_vector_env",
            kwargs={"level": id},
        )
    except gymnasium.error.Error as error:
        raise ValueError(f"'{id}' cannot be a level's id, as 'My-Level-v0' can: {error}") from error


def grid_size(
    size: int | tuple[int, int] | None, rooms: tuple[int, int, int] | None
) -> tuple[int, int]:
    """(width, height) in cells; neighbouring rooms share a wall."""
    if rooms is not None:
        side = rooms[0] - 1
        return side * rooms[2] + 1, side * rooms[1] + 1
    assert size is not None
    return (size, size) if isinstance(size, int) else size


def levels() -> list[str]:
    """The ids of all levels, sorted."""
    return sorted(LEVELS)


def check_level(id: str) -> None:
    """Refuse an id that is neither a level nor known to Gymnasium.

    Raises:
        ValueError: as `find_level`.
    """
    if id not in gymnasium.registry:
        find_level(id)


def find_level(id: str) -> Level:
    """The level of that id.

    Raises:
        ValueError: there is none; the message names the nearest ids.
    """
    if id in LEVELS:
        return LEVELS[id]
    raise unknown("level", id, LEVELS)
