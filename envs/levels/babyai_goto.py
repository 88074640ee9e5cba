"""BabyAI: find an object or a door, go to it or pick it up."""

from __future__ import annotations

from functools import partial

from ..cells import BALL, BALL_TYPE, BLUE, DOOR_TYPE, GREY, RED
from ..instructions import GO_TO, OPEN_IT, PICK_UP, go_to, instruct, pick_up
from ..jit import compiled
from ..record import Record
from ..registry import level
from ..rng import rand_bool, rand_int
from ..rooms import (
    ANY,
    UPPER_WALL,
    add_distractors,
    add_door,
    add_object,
    all_reachable,
    build_rooms,
    connect_all,
    loose_cell,
    open_all_doors,
    place_agent_in_room,
    require_reachable,
)
from ..world import color_of, reject, type_of

search = partial(level, words=5, opened=0, blocked=0)
one_room = partial(search, verb=GO_TO)
maze = partial(search, verb=GO_TO, distractors=1)
nine_rooms = partial(search, rooms=(8, 3, 3), distractors=18)


@one_room("BabyAI-GoToObj-v0", rooms=(8, 1, 1), distractors=1)
@one_room("BabyAI-GoToObjS4-v0", rooms=(4, 1, 1), distractors=1)
@one_room("BabyAI-GoToObjS6-v1", rooms=(6, 1, 1), distractors=1)
@one_room("BabyAI-GoToLocal-v0", rooms=(8, 1, 1), distractors=8)
@one_room("BabyAI-GoToLocalS5N2-v0", rooms=(5, 1, 1), distractors=2)
@one_room("BabyAI-GoToLocalS6N2-v0", rooms=(6, 1, 1), distractors=2)
@one_room("BabyAI-GoToLocalS6N3-v0", rooms=(6, 1, 1), distractors=3)
@one_room("BabyAI-GoToLocalS6N4-v0", rooms=(6, 1, 1), distractors=4)
@one_room("BabyAI-GoToLocalS7N4-v0", rooms=(7, 1, 1), distractors=4)
@one_room("BabyAI-GoToLocalS7N5-v0", rooms=(7, 1, 1), distractors=5)
@one_room("BabyAI-GoToLocalS8N2-v0", rooms=(8, 1, 1), distractors=2)
@one_room("BabyAI-GoToLocalS8N3-v0", rooms=(8, 1, 1), distractors=3)
@one_room("BabyAI-GoToLocalS8N4-v0", rooms=(8, 1, 1), distractors=4)
@one_room("BabyAI-GoToLocalS8N5-v0", rooms=(8, 1, 1), distractors=5)
@one_room("BabyAI-GoToLocalS8N6-v0", rooms=(8, 1, 1), distractors=6)
@one_room("BabyAI-GoToLocalS8N7-v0", rooms=(8, 1, 1), distractors=7)
@maze("BabyAI-GoToObjMaze-v0", rooms=(8, 3, 3))
@maze("BabyAI-GoToObjMazeOpen-v0", rooms=(8, 3, 3), opened=1)
@maze("BabyAI-GoToObjMazeS4R2-v0", rooms=(4, 2, 2))
@maze("BabyAI-GoToObjMazeS4-v0", rooms=(4, 3, 3))
@maze("BabyAI-GoToObjMazeS5-v0", rooms=(5, 3, 3))
@maze("BabyAI-GoToObjMazeS6-v0", rooms=(6, 3, 3))
@maze("BabyAI-GoToObjMazeS7-v0", rooms=(7, 3, 3))
@nine_rooms("BabyAI-GoTo-v0", verb=GO_TO)
@nine_rooms("BabyAI-GoToOpen-v0", verb=GO_TO, opened=1)
@nine_rooms("BabyAI-Pickup-v0", verb=PICK_UP)
@nine_rooms("BabyAI-UnblockPickup-v0", verb=PICK_UP, distractors=20, blocked=1)
def find_object(e: Record, verb: int, distractors: int, opened: int, blocked: int) -> None:
    """Go to or pick up one of the objects in the rooms; ``blocked``: some object is unreachable."""
    build_rooms(e)
    place_agent_in_room(e, ANY, ANY)
    connect_all(e, ANY)
    first = add_distractors(e, ANY, ANY, distractors, False)
    if all_reachable(e) == (blocked == 1):
        reject(e)
    thing = rand_int(e, first, first + distractors)
    if opened:
        open_all_doors(e)
    instruct(e, 0, verb, type_of(e, thing), color_of(e, thing), ANY)


@level("BabyAI-GoToRedBallGrey-v0", rooms=(8, 1, 1), words=5, distractors=7, grey=1)
@level("BabyAI-GoToRedBall-v0", rooms=(8, 1, 1), words=5, distractors=7, grey=0)
@level("BabyAI-GoToRedBallNoDists-v0", rooms=(8, 1, 1), words=5, distractors=0, grey=0)
def go_to_red_ball(e: Record, distractors: int, grey: int) -> None:
    """Go to the red ball; the other objects in the room may all be painted grey."""
    build_rooms(e)
    place_agent_in_room(e, ANY, ANY)
    add_object(e, 0, 0, BALL_TYPE, RED)
    first = add_distractors(e, ANY, ANY, distractors, False)
    if grey:
        for thing in range(first, e.things):
            e.thing_cell[thing] = loose_cell(type_of(e, thing), GREY)
            e.grid[e.thing_at[thing]] = e.thing_cell[thing]
    require_reachable(e)
    go_to(e, BALL_TYPE, RED)


@level("BabyAI-GoToRedBlueBall-v0", rooms=(8, 1, 1), words=5)
def go_to_red_or_blue_ball(e: Record) -> None:
    """Go to the room's only red or blue ball."""
    build_rooms(e)
    place_agent_in_room(e, ANY, ANY)
    first = add_distractors(e, ANY, ANY, 7, False)
    for thing in range(first, e.things):
        if e.thing_cell[thing] in (BALL + RED, BALL + BLUE):
            reject(e)
    color = RED if rand_int(e, 0, 2) == 0 else BLUE
    add_object(e, 0, 0, BALL_TYPE, color)
    require_reachable(e)
    go_to(e, BALL_TYPE, color)


@compiled
def add_four_doors(e: Record, locked: int) -> int:
    """Four doors of any color in the middle room's walls; returns the first."""
    first = e.things
    for _ in range(4):
        add_door(e, 1, 1, ANY, ANY, locked)
    return first


@level("BabyAI-GoToDoor-v0", rooms=(7, 3, 3), words=5)
def go_to_door(e: Record) -> None:
    """The middle room has four doors, some of them locked: go to one."""
    build_rooms(e)
    first = add_four_doors(e, ANY)
    place_agent_in_room(e, 1, 1)
    go_to(e, DOOR_TYPE, color_of(e, rand_int(e, first, first + 4)))


@level("BabyAI-GoToObjDoor-v0", rooms=(8, 3, 3), words=5)
def go_to_object_or_door(e: Record) -> None:
    """The middle room has four doors and eight objects: go to one of these."""
    build_rooms(e)
    place_agent_in_room(e, 1, 1)
    first = add_distractors(e, 1, 1, 8, False)
    add_four_doors(e, ANY)
    require_reachable(e)
    thing = rand_int(e, first, first + 12)
    go_to(e, type_of(e, thing), color_of(e, thing))


@level("BabyAI-ActionObjDoor-v0", rooms=(7, 3, 3), words=5)
def act_on_object_or_door(e: Record) -> None:
    """Go to an object or a door, pick up an object or open a door."""
    build_rooms(e)
    first = add_distractors(e, 1, 1, 5, True)
    add_four_doors(e, 0)
    place_agent_in_room(e, 1, 1)
    thing = rand_int(e, first, first + 9)
    verb = OPEN_IT if type_of(e, thing) == DOOR_TYPE else PICK_UP
    if rand_bool(e):
        verb = GO_TO
    instruct(e, 0, verb, type_of(e, thing), color_of(e, thing), ANY)


@level("BabyAI-PickupDist-v0", rooms=(7, 1, 1), words=5, strict=0)
@level("BabyAI-PickupDistDebug-v0", rooms=(7, 1, 1), words=5, strict=1)
def pick_up_by_trait(e: Record, strict: int) -> None:
    """Five objects: pick up one named by its type, its color or both."""
    build_rooms(e)
    first = add_distractors(e, ANY, ANY, 5, True)
    place_agent_in_room(e, 0, 0)
    thing = rand_int(e, first, first + 5)
    trait = rand_int(e, 0, 3)
    type = ANY if trait == 1 else type_of(e, thing)
    pick_up(e, type, ANY if trait == 0 else color_of(e, thing))
    e.leaf_strict[0] = strict


@level("BabyAI-PickupAbove-v0", rooms=(6, 3, 3), max_steps=288, words=5)
def pick_up_above(e: Record) -> None:
    """Pick up the object in the room above."""
    build_rooms(e)
    thing = add_object(e, 1, 0, ANY, ANY)
    add_door(e, 1, 1, UPPER_WALL, ANY, 0)
    place_agent_in_room(e, 1, 1)
    connect_all(e, ANY)
    pick_up(e, type_of(e, thing), color_of(e, thing))


@level("BabyAI-FindObjS5-v0", rooms=(5, 3, 3), max_steps=500, words=4)
@level("BabyAI-FindObjS6-v0", rooms=(6, 3, 3), max_steps=720, words=4)
@level("BabyAI-FindObjS7-v0", rooms=(7, 3, 3), max_steps=980, words=4)
def find_and_pick_up(e: Record) -> None:
    """Find the one object in nine rooms, and pick it up."""
    build_rooms(e)
    column = rand_int(e, 0, e.room_columns)
    thing = add_object(e, column, rand_int(e, 0, e.room_rows), ANY, ANY)
    place_agent_in_room(e, 1, 1)
    connect_all(e, ANY)
    pick_up(e, type_of(e, thing), ANY)


@level("BabyAI-OneRoomS8-v0", rooms=(8, 1, 1), words=4)
@level("BabyAI-OneRoomS12-v0", rooms=(12, 1, 1), words=4)
@level("BabyAI-OneRoomS16-v0", rooms=(16, 1, 1), words=4)
@level("BabyAI-OneRoomS20-v0", rooms=(20, 1, 1), words=4)
def pick_up_ball(e: Record) -> None:
    """Pick up the ball in the room."""
    build_rooms(e)
    add_object(e, 0, 0, BALL_TYPE, ANY)
    place_agent_in_room(e, ANY, ANY)
    pick_up(e, BALL_TYPE, ANY)
