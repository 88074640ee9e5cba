"""BabyAI: open doors and unlock them."""

from __future__ import annotations

from functools import partial

from ..cells import BALL_TYPE, BLUE, BOX, DOOR_TYPE, KEY, KEY_TYPE, RED
from ..instructions import AFTER, BEFORE, GO_TO, OPEN_IT, instruct, join_halves, open_it, pick_up
from ..jit import compiled
from ..record import Record
from ..registry import level
from ..rng import rand_bool, rand_int
from ..rooms import (
    ANY,
    LEFT_WALL,
    RIGHT_WALL,
    add_distractors,
    add_door,
    add_object,
    build_rooms,
    connect_all,
    place_agent_in_room,
    place_agent_outside,
    place_in_room,
    require_reachable,
)
from ..world import color_in, color_of, draw_colors, draw_pair, new_thing, rand_color, type_of

nine_rooms = partial(level, rooms=(8, 3, 3))
two_doors = partial(level, rooms=(6, 3, 3), max_steps=720, words=10)
ordered_doors = partial(level, rooms=(6, 3, 3), max_steps=720, words=10)


@compiled
def nth_door(e: Record, n: int) -> int:
    """The n-th door of all rooms' walls, column by column; each door belongs to two rooms."""
    for column in range(e.room_columns):
        for row in range(e.room_rows):
            for wall in range(4):
                door = e.room_door[4 * (row * e.room_columns + column) + wall]
                if door >= 0:
                    if n == 0:
                        return door
                    n -= 1
    return 0


@nine_rooms("BabyAI-Open-v0", words=4)
def open_any(e: Record) -> None:
    """Nine rooms: open one of the doors between them."""
    build_rooms(e)
    place_agent_in_room(e, ANY, ANY)
    connect_all(e, ANY)
    doors = e.things
    add_distractors(e, ANY, ANY, 18, False)
    require_reachable(e)
    open_it(e, color_of(e, nth_door(e, rand_int(e, 0, 2 * doors))))


@level("BabyAI-OpenRedDoor-v0", rooms=(5, 1, 2), words=4)
def open_red_door(e: Record) -> None:
    """Two rooms: open the red door between them."""
    build_rooms(e)
    add_door(e, 0, 0, RIGHT_WALL, RED, 0)
    place_agent_in_room(e, 0, 0)
    open_it(e, RED)


@nine_rooms("BabyAI-OpenDoor-v0", words=7, by=ANY, strict=0)
@nine_rooms("BabyAI-OpenDoorDebug-v0", words=7, by=ANY, strict=1)
@nine_rooms("BabyAI-OpenDoorColor-v0", words=7, by=0, strict=0)
@nine_rooms("BabyAI-OpenDoorLoc-v0", words=7, by=1, strict=0)
def open_door(e: Record, by: int, strict: int) -> None:
    """Four doors: open one, named by its color (0), its place (1) or either (ANY)."""
    build_rooms(e)
    colors = draw_colors(e, 4)
    for wall in range(4):
        add_door(e, 1, 1, wall, color_in(colors, wall), 0)
    by_place = rand_int(e, 0, 2) if by == ANY else by
    place = rand_int(e, 0, 4) if by_place else ANY
    place_agent_in_room(e, 1, 1)
    instruct(e, 0, OPEN_IT, DOOR_TYPE, ANY if by_place else color_in(colors, 0), place)
    e.leaf_strict[0] = strict


@two_doors("BabyAI-OpenTwoDoors-v0", first=ANY, second=ANY, strict=0)
@two_doors("BabyAI-OpenRedBlueDoors-v0", first=RED, second=BLUE, strict=0)
@two_doors("BabyAI-OpenRedBlueDoorsDebug-v0", first=RED, second=BLUE, strict=1)
def open_two_doors(e: Record, first: int, second: int, strict: int) -> None:
    """Open the door on the left, then the one on the right."""
    build_rooms(e)
    colors = draw_colors(e, 2)
    left = color_in(colors, 0) if first == ANY else first
    right = color_in(colors, 1) if second == ANY else second
    add_door(e, 1, 1, LEFT_WALL, left, 0)
    add_door(e, 1, 1, RIGHT_WALL, right, 0)
    place_agent_in_room(e, 1, 1)
    instruct(e, 0, OPEN_IT, DOOR_TYPE, left, ANY)
    instruct(e, 2, OPEN_IT, DOOR_TYPE, right, ANY)
    join_halves(e, BEFORE)
    e.leaf_strict[0] = strict


@ordered_doors("BabyAI-OpenDoorsOrderN2-v0", doors=2, strict=0)
@ordered_doors("BabyAI-OpenDoorsOrderN4-v0", doors=4, strict=0)
@ordered_doors("BabyAI-OpenDoorsOrderN2Debug-v0", doors=2, strict=1)
@ordered_doors("BabyAI-OpenDoorsOrderN4Debug-v0", doors=4, strict=1)
def open_in_order(e: Record, doors: int, strict: int) -> None:
    """Open one door, or one before or after another."""
    build_rooms(e)
    colors = draw_colors(e, doors)
    for i in range(doors):
        add_door(e, 1, 1, ANY, color_in(colors, i), 0)
    place_agent_in_room(e, 1, 1)
    first, second = draw_pair(e, doors)
    order = rand_int(e, 0, 3)
    instruct(e, 0, OPEN_IT, DOOR_TYPE, color_in(colors, first), ANY)
    e.leaf_strict[0] = strict
    if order > 0:
        instruct(e, 2, OPEN_IT, DOOR_TYPE, color_in(colors, second), ANY)
        e.leaf_strict[2] = strict
        join_halves(e, BEFORE if order == 1 else AFTER)


@nine_rooms("BabyAI-Unlock-v0", words=5, distractors=3, beyond=0)
@nine_rooms("BabyAI-GoToImpUnlock-v0", words=5, distractors=2, beyond=1)
def unlock_room(e: Record, distractors: int, beyond: int) -> None:
    """One of nine rooms is locked: open its door, or go to an object beyond it.

    Upstream means to keep the key and the distractors out of that room, but compares numbers with
    ``is``, so nothing keeps them out.
    """
    build_rooms(e)
    i, j = rand_int(e, 0, e.room_columns), rand_int(e, 0, e.room_rows)
    door = add_door(e, i, j, ANY, ANY, 1)
    column = rand_int(e, 0, e.room_columns)
    add_object(e, column, rand_int(e, 0, e.room_rows), KEY_TYPE, color_of(e, door))
    only_of_its_color = not beyond and rand_bool(e)
    connect_all(e, color_of(e, door) if only_of_its_color else ANY)
    for column in range(e.room_columns):
        for row in range(e.room_rows):
            add_distractors(e, column, row, distractors, False)
    place_agent_outside(e, j * e.room_columns + i)
    require_reachable(e)
    if beyond:
        thing = add_distractors(e, i, j, 1, False)
        instruct(e, 0, GO_TO, type_of(e, thing), color_of(e, thing), ANY)
    else:
        open_it(e, color_of(e, door))


@nine_rooms("BabyAI-UnlockLocal-v0", words=3, distractors=0, boxed=0)
@nine_rooms("BabyAI-UnlockLocalDist-v0", words=3, distractors=3, boxed=0)
@nine_rooms("BabyAI-KeyInBox-v0", words=3, distractors=0, boxed=1)
def unlock_here(e: Record, distractors: int, boxed: int) -> None:
    """The middle room has a locked door and its key, maybe in a box: open the door."""
    build_rooms(e)
    door = add_door(e, 1, 1, ANY, ANY, 1)
    thing = new_thing(e, KEY + color_of(e, door))
    if boxed:
        box = new_thing(e, BOX + rand_color(e))
        e.thing_inside[box] = thing
        thing = box
    place_in_room(e, 1, 1, thing)
    add_distractors(e, 1, 1, distractors, True)
    place_agent_in_room(e, 1, 1)
    open_it(e, ANY)


@level("BabyAI-UnlockToUnlock-v0", rooms=(6, 1, 3), max_steps=1080, words=4)
def unlock_to_unlock(e: Record) -> None:
    """Three rooms in a row: one key opens the way to another, and that the way to the ball."""
    build_rooms(e)
    colors = draw_colors(e, 2)
    add_door(e, 0, 0, RIGHT_WALL, color_in(colors, 0), 1)
    add_object(e, 2, 0, KEY_TYPE, color_in(colors, 0))
    add_door(e, 1, 0, RIGHT_WALL, color_in(colors, 1), 1)
    add_object(e, 1, 0, KEY_TYPE, color_in(colors, 1))
    add_object(e, 0, 0, BALL_TYPE, ANY)
    place_agent_in_room(e, 1, 0)
    pick_up(e, BALL_TYPE, ANY)
