"""Objects: on upstream's grid, in hand and in boxes; cells and things in a record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from ..cells import CELL_OF, EMPTY
from ..record import MAX_THINGS, NOTHING
from ..sprites import make_object

OBJECTS = (Wall, Floor, Door, Key, Ball, Box, Goal, Lava)
WITH_IDENTITY = (Door, Key, Ball, Box)


class ForeignRulesError(ValueError):
    """An environment has rules, objects or a state that the engine does not know."""


# --- read ---------------------------------------------------------------------------------------


def cell_of(obj: WorldObj | None) -> int:
    """The cell that shows an object.

    Raises:
        ForeignRulesError: the object's type is not upstream's.
    """
    if obj is None:
        return EMPTY
    if type(obj) not in OBJECTS:
        raise ForeignRulesError(f"objects of type {type(obj).__name__} are not upstream's")
    if isinstance(obj, Door) and obj.is_open and obj.is_locked:
        raise ForeignRulesError("a door cannot be open and locked")
    encoding = obj.encode()
    if encoding not in CELL_OF:
        raise ForeignRulesError(f"no cell shows a {obj.color} {obj.type}")
    return CELL_OF[encoding]


class Things:
    """The objects that need an identity, numbered as in the record.

    Without an instruction only boxes with contents and their contents do: if there are more objects
    than a record can number, only these are numbered.

    Args:
        env: the environment.
        first: objects to number first.
        tracked: objects that an instruction refers to, wherever they are.

    Raises:
        ForeignRulesError: there are more than a record can number.
    """

    def __init__(
        self, env: MiniGridEnv, first: Sequence[WorldObj] = (), tracked: Sequence[WorldObj] = ()
    ) -> None:
        self._places = lying_objects(env.grid)
        lying = [obj for obj in self._places if isinstance(obj, WITH_IDENTITY)]
        carried = [env.carrying] if env.carrying else []
        self.objects = distinct(contents_included([*first, *lying, *carried, *tracked]))
        if len(self.objects) > MAX_THINGS and not tracked:
            holders = [obj for obj in [*lying, *carried] if obj.contains]
            self.objects = distinct(contents_included(holders))
        if len(self.objects) > MAX_THINGS:
            raise ForeignRulesError(
                f"at most {MAX_THINGS} objects can be told apart, got {len(self.objects)}"
            )
        self._numbers = {id(obj): number for number, obj in enumerate(self.objects)}

    def number(self, obj: WorldObj | None) -> int:
        """The object's number, NOTHING if it has none."""
        return self._numbers.get(id(obj), NOTHING)

    def knows(self, obj: WorldObj) -> bool:
        """Whether the object has a number."""
        return id(obj) in self._numbers

    def mask(self, objects: Iterable[WorldObj]) -> np.uint64:
        """A set of objects, one bit each; walls, which "a grey object" may match, have none."""
        numbers = [self.number(obj) for obj in objects]
        return np.uint64(sum(1 << number for number in numbers if number != NOTHING))

    def fill(self, record: np.void) -> None:
        """Write every thing's cell, position and contents into a record."""
        record["things"] = len(self.objects)
        for number, obj in enumerate(self.objects):
            record["thing_cell"][number] = cell_of(obj)
            record["thing_inside"][number] = self.number(obj.contains)
            record["thing_at"][number] = self._places.get(obj, NOTHING)
            record["thing_seen_at"][number] = record["thing_at"][number]
            record["thing_listed"][number] = 0


def lying_objects(grid: Grid) -> dict[WorldObj, int]:
    """The position of each object with an identity (objects compare by identity).

    Raises:
        ForeignRulesError: one lies in two places.
    """
    places: dict[WorldObj, int] = {}
    for at, obj in enumerate(grid.grid):
        if isinstance(obj, WITH_IDENTITY):
            if obj in places:
                raise ForeignRulesError(f"one {obj.color} {obj.type} lies in two places")
            places[obj] = at
    return places


def contents_included(objects: Iterable[WorldObj]) -> Iterator[WorldObj]:
    """The objects, each followed by its contents, recursively."""
    for obj in objects:
        inner: WorldObj | None = obj
        while inner is not None:
            yield inner
            inner = inner.contains


def distinct(objects: Iterable[WorldObj]) -> list[WorldObj]:
    """The objects without duplicates."""
    return list({id(obj): obj for obj in objects}.values())


# --- write --------------------------------------------------------------------------------------


def make_things(record: np.void) -> list[WorldObj]:
    """An object for each thing of a record, boxes with their contents."""
    count = int(record["things"])
    made: list[WorldObj] = []
    for number in range(count):
        at = int(record["thing_at"][number])
        cell = record["thing_cell"][number] if at == NOTHING else record["grid"][at]
        obj = make_object(int(cell))
        assert obj is not None
        made.append(obj)
    for number, inside in enumerate(record["thing_inside"][:count]):
        if inside != NOTHING:
            made[number].contains = made[inside]
    return made


def fill_grid(grid: Grid, record: np.void, things: Sequence[WorldObj]) -> None:
    """Put a record's things and other cells onto an empty grid."""
    at_place = {int(at): obj for at, obj in zip(record["thing_at"], things, strict=False)}
    for at in range(grid.width * grid.height):
        obj = at_place.get(at) or make_object(int(record["grid"][at]))
        if obj is not None:
            obj.init_pos = obj.cur_pos = (at % grid.width, at // grid.width)
        grid.grid[at] = obj


def carried_object(record: np.void, things: Sequence[WorldObj]) -> WorldObj | None:
    """What the agent carries, or None; upstream puts it at (-1, -1)."""
    if record["carrying"] == EMPTY:
        return None
    held = int(record["held"])
    carried = make_object(int(record["carrying"])) if held == NOTHING else things[held]
    assert carried is not None
    carried.cur_pos = np.array([-1, -1])
    return carried


def tracked(record: np.void, slot: int, things: Sequence[WorldObj]) -> list[WorldObj]:
    """The objects that a description tracks."""
    mask = int(record["desc_things"][slot])
    return [obj for n, obj in enumerate(things) if mask >> n & 1]
