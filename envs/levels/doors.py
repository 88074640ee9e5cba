"""Keys and doors."""

from __future__ import annotations

from functools import partial

from ..cells import (
    BALL,
    BALL_TYPE,
    BLUE,
    BOX_TYPE,
    CLOSED_DOOR,
    GOAL,
    KEY,
    KEY_TYPE,
    LOCKED_DOOR,
    RED,
    YELLOW,
)
from ..instructions import open_it, phrases, pick_up, say, say_nothing, say_phrase
from ..jit import compiled
from ..record import Record
from ..registry import level
from ..rng import rand_int
from ..rooms import (
    ANY,
    LEFT_WALL,
    RIGHT_WALL,
    UPPER_WALL,
    add_distractors,
    add_door,
    add_object,
    build_rooms,
    connect_all,
    place_agent_in_room,
    remove_wall,
)
from ..vocabulary import COLOR_WORDS
from ..world import (
    ALL_COLORS,
    ENDLESS,
    color_of,
    goal_in_corner,
    index,
    place,
    place_agent,
    put,
    rand_color,
    rand_color_among,
    reject,
    set_cell,
    wall_column,
    wall_rect,
    wall_row,
    walled,
)

USE_KEY = "use the key to open the door and then get to the goal"
RED_THEN_BLUE = "open the red door then the blue door"

_GO_TO, _DOOR = phrases("go to the", "door")
_GET, _KEY_FROM, _ROOM = phrases("get the", "key from the", "room, unlock the")
_AND_GO = phrases("door and go to the goal")[0]

two_rooms = partial(level, rooms=(6, 1, 2), words=5, boxed=1, blocked=0, distractors=0, colored=1)
corridor = partial(level, words=5)


@level("MiniGrid-DoorKey-5x5-v0", size=5, max_steps=250, mission=USE_KEY)
@level("MiniGrid-DoorKey-6x6-v0", size=6, max_steps=360, mission=USE_KEY)
@level("MiniGrid-DoorKey-8x8-v0", size=8, max_steps=640, mission=USE_KEY)
@level("MiniGrid-DoorKey-16x16-v0", size=16, max_steps=2560, mission=USE_KEY)
def door_key(e: Record) -> None:
    """The key lies on the agent's side of a wall, the goal beyond its locked door."""
    walled(e)
    goal_in_corner(e)
    split = rand_int(e, 2, e.width - 2)
    wall_column(e, split, 0, e.height)
    place_agent(e, 0, 0, split, e.height)
    put(e, split, rand_int(e, 1, e.height - 2), LOCKED_DOOR + YELLOW)
    place(e, KEY + YELLOW, 0, 0, split, e.height)


@two_rooms("MiniGrid-Unlock-v0", max_steps=288, words=3, boxed=0)
@two_rooms("MiniGrid-UnlockPickup-v0", max_steps=288)
@two_rooms("MiniGrid-BlockedUnlockPickup-v0", max_steps=576, blocked=1)
@two_rooms("BabyAI-UnlockPickup-v0")
@two_rooms("BabyAI-UnlockPickupDist-v0", distractors=4)
@two_rooms("BabyAI-BlockedUnlockPickup-v0", max_steps=576, words=4, blocked=1, colored=0)
def unlock(e: Record, boxed: int, blocked: int, distractors: int, colored: int) -> None:
    """Two rooms and a locked door, maybe behind a ball: open it, or pick up the box beyond it."""
    build_rooms(e)
    box = add_object(e, 1, 0, BOX_TYPE, ANY) if boxed else 0
    door = add_door(e, 0, 0, RIGHT_WALL, ANY, 1)
    if blocked:
        at = e.thing_at[door]
        put(e, at % e.width - 1, at // e.width, BALL + rand_color(e))
    add_object(e, 0, 0, KEY_TYPE, color_of(e, door))
    add_distractors(e, ANY, ANY, distractors, True)
    place_agent_in_room(e, 0, 0)
    if boxed:
        pick_up(e, BOX_TYPE, color_of(e, box) if colored else ANY)
    else:
        open_it(e, ANY)


@corridor("MiniGrid-KeyCorridorS3R1-v0", rooms=(3, 1, 3), max_steps=270, colored=1)
@corridor("MiniGrid-KeyCorridorS3R2-v0", rooms=(3, 2, 3), max_steps=270, colored=1)
@corridor("MiniGrid-KeyCorridorS3R3-v0", rooms=(3, 3, 3), max_steps=270, colored=1)
@corridor("MiniGrid-KeyCorridorS4R3-v0", rooms=(4, 3, 3), max_steps=480, colored=1)
@corridor("MiniGrid-KeyCorridorS5R3-v0", rooms=(5, 3, 3), max_steps=750, colored=1)
@corridor("MiniGrid-KeyCorridorS6R3-v0", rooms=(6, 3, 3), max_steps=1080, colored=1)
@corridor("BabyAI-KeyCorridor-v0", rooms=(6, 3, 3), max_steps=1080, colored=0)
@corridor("BabyAI-KeyCorridorS3R1-v0", rooms=(3, 1, 3), max_steps=270, colored=0)
@corridor("BabyAI-KeyCorridorS3R2-v0", rooms=(3, 2, 3), max_steps=270, colored=0)
@corridor("BabyAI-KeyCorridorS3R3-v0", rooms=(3, 3, 3), max_steps=270, colored=0)
@corridor("BabyAI-KeyCorridorS4R3-v0", rooms=(4, 3, 3), max_steps=480, colored=0)
@corridor("BabyAI-KeyCorridorS5R3-v0", rooms=(5, 3, 3), max_steps=750, colored=0)
@corridor("BabyAI-KeyCorridorS6R3-v0", rooms=(6, 3, 3), max_steps=1080, colored=0)
def key_corridor(e: Record, colored: int) -> None:
    """Rooms along a corridor: the ball is locked in on the right, the key is on the left."""
    build_rooms(e)
    for row in range(1, e.room_rows):
        remove_wall(e, 1, row, UPPER_WALL)
    row = rand_int(e, 0, e.room_rows)
    door = add_door(e, 2, row, LEFT_WALL, ANY, 1)
    ball = add_object(e, 2, row, BALL_TYPE, ANY)
    add_object(e, 0, rand_int(e, 0, e.room_rows), KEY_TYPE, color_of(e, door))
    place_agent_in_room(e, 1, e.room_rows // 2)
    connect_all(e, ANY)
    pick_up(e, BALL_TYPE, color_of(e, ball) if colored else ANY)


@level(
    "MiniGrid-RedBlueDoors-6x6-v0",
    size=(12, 6),
    max_steps=720,
    mission=RED_THEN_BLUE,
    rule="in-order",
)
@level(
    "MiniGrid-RedBlueDoors-8x8-v0",
    size=(16, 8),
    max_steps=1280,
    mission=RED_THEN_BLUE,
    rule="in-order",
)
def red_blue_doors(e: Record) -> None:
    """A room with a red door on its left and a blue one on its right: open red, then blue."""
    walled(e)
    left, right = e.height // 2, e.height // 2 + e.height - 1
    wall_rect(e, left, 0, e.height, e.height)
    place_agent(e, left, 0, e.height, e.height)
    e.target = index(e, left, rand_int(e, 1, e.height - 1))
    e.decoy = index(e, right, rand_int(e, 1, e.height - 1))
    e.grid[e.target] = CLOSED_DOOR + RED
    e.grid[e.decoy] = CLOSED_DOOR + BLUE


@level(
    "MiniGrid-GoToDoor-5x5-v0", size=5, max_steps=100, words=5, see_through=True, rule="say-done"
)
@level(
    "MiniGrid-GoToDoor-6x6-v0", size=6, max_steps=144, words=5, see_through=True, rule="say-done"
)
@level(
    "MiniGrid-GoToDoor-8x8-v0", size=8, max_steps=256, words=5, see_through=True, rule="say-done"
)
def go_to_door(e: Record) -> None:
    """A room of random size with a door in each wall: say done beside the one asked for."""
    width, height = rand_int(e, 5, e.width + 1), rand_int(e, 5, e.height + 1)
    wall_rect(e, 0, 0, width, height)
    upper = index(e, rand_int(e, 2, width - 2), 0)
    lower = index(e, rand_int(e, 2, width - 2), height - 1)
    left = index(e, 0, rand_int(e, 2, height - 2))
    right = index(e, width - 1, rand_int(e, 2, height - 2))
    doors = (upper, lower, left, right)
    used = 0
    for at in doors:
        color = draw_other_color(e, used)
        used |= 1 << color
        e.grid[at] = CLOSED_DOOR + color
    place_agent(e, 0, 0, width, height)
    e.target = doors[rand_int(e, 0, 4)]
    say_nothing(e)
    say_phrase(e, _GO_TO)
    say(e, COLOR_WORDS[e.grid[e.target] - CLOSED_DOOR])
    say_phrase(e, _DOOR)


@compiled
def draw_other_color(e: Record, used: int) -> int:
    """Draw colors until one is unused."""
    for _ in range(ENDLESS):
        color = rand_color_among(e, ALL_COLORS)
        if not (used >> color) & 1:
            return color
    reject(e)
    return RED


@level("MiniGrid-LockedRoom-v0", size=19, max_steps=190, words=18)
def locked_room(e: Record) -> None:
    """Six rooms off a hallway: the goal is locked in one, the key lies in another."""
    walled(e)
    left, right, height = e.width // 2 - 2, e.width // 2 + 2, e.height // 3
    wall_column(e, left, 0, e.height)
    wall_column(e, right, 0, e.height)
    for row in range(3):
        wall_row(e, 0, row * height, left)
        wall_row(e, right, row * height, e.width - right)
    locked = rand_int(e, 0, 6)
    place_in_side_room(e, locked, GOAL)
    colors, painted = ALL_COLORS, 0
    for room in range(6):
        color = rand_color_among(e, colors)
        colors ^= 1 << color
        painted |= color << (4 * room)
        door = LOCKED_DOOR if room == locked else CLOSED_DOOR
        set_cell(e, left if room % 2 == 0 else right, room // 2 * height + 3, door + color)
    lock = (painted >> (4 * locked)) & 15
    room = locked
    for _ in range(ENDLESS):
        room = rand_int(e, 0, 6)
        if room != locked:
            break
    if room == locked:
        reject(e)
    place_in_side_room(e, room, KEY + lock)
    place_agent(e, left, 0, right - left, e.height)
    say_nothing(e)
    say_phrase(e, _GET)
    say(e, COLOR_WORDS[lock])
    say_phrase(e, _KEY_FROM)
    say(e, COLOR_WORDS[(painted >> (4 * room)) & 15])
    say_phrase(e, _ROOM)
    say(e, COLOR_WORDS[lock])
    say_phrase(e, _AND_GO)


@compiled
def place_in_side_room(e: Record, room: int, cell: int) -> None:
    """Put a cell at random inside one of the six rooms; even ones are on the left."""
    left = 0 if room % 2 == 0 else e.width // 2 + 2
    top = room // 2 * (e.height // 3)
    x = rand_int(e, left + 1, left + e.width // 2 - 2)
    set_cell(e, x, rand_int(e, top + 1, top + e.height // 3), cell)
