"""Many rooms: chains of them, mazes with obstructed doors, and a playground."""

from __future__ import annotations

from functools import partial

from ..cells import BALL, BALL_TYPE, BLUE, BOX, CLOSED_DOOR, GOAL, GREEN, GREY, KEY
from ..instructions import pick_up, say_nothing
from ..jit import compiled
from ..record import NOTHING, Record
from ..registry import level
from ..rng import rand_int
from ..rooms import (
    LOOSE_TYPES,
    LOWER_WALL,
    RIGHT_WALL,
    add_door,
    add_object,
    build_rooms,
    loose_cell,
    place_agent_in_room,
    place_in_room,
)
from ..world import (
    ALL_COLORS,
    ENDLESS,
    color_in,
    draw_colors,
    index,
    new_thing,
    place,
    place_agent,
    place_cell,
    put_thing,
    rand_color,
    rand_color_among,
    reject,
    set_cell,
    wall_column,
    wall_rect,
    wall_row,
    walled,
)

TRAVERSE = "traverse the rooms to get to the goal"

# --- chains of rooms ----------------------------------------------------------------------------

chain = partial(level, size=25, mission=TRAVERSE)


@chain("MiniGrid-MultiRoom-N2-S4-v0", max_steps=40, rooms_wanted=2, largest=4)
@chain("MiniGrid-MultiRoom-N4-S5-v0", max_steps=120, rooms_wanted=6, largest=5)
@chain("MiniGrid-MultiRoom-N4-S5-v1", max_steps=80, rooms_wanted=4, largest=5)
@chain("MiniGrid-MultiRoom-N6-v0", max_steps=120, rooms_wanted=6, largest=10)
def multi_room(e: Record, rooms_wanted: int, largest: int) -> None:
    """Rooms of random sizes, each entered by a door from the previous one; the goal in the last."""
    for _ in range(ENDLESS):
        x = rand_int(e, 0, e.width - 2)
        if chain_rooms(e, index(e, x, rand_int(e, 0, e.width - 2)), rooms_wanted, largest):
            break
    else:
        reject(e)
        return
    color = NOTHING
    for room in range(rooms_wanted):
        wall_rect(e, *box_of(e, room))
        if room > 0:
            color = rand_color_among(e, ALL_COLORS if color < 0 else ALL_COLORS ^ (1 << color))
            e.grid[e.room_entry[room]] = CLOSED_DOOR + color
    place_agent(e, *box_of(e, 0))
    place_cell(e, GOAL, *box_of(e, rooms_wanted - 1))


@compiled
def box_of(e: Record, room: int) -> tuple[int, int, int, int]:
    """A room's left, top, width and height."""
    box = e.room_box[4 * room : 4 * room + 4]
    return box[0], box[1], box[2], box[3]


@compiled
def chain_rooms(e: Record, entry: int, wanted: int, largest: int) -> bool:
    """Lay out a chain of rooms, each from a door of the previous one; false if it gets stuck."""
    if not fit_room(e, 0, 2, entry, largest):
        return False
    entry_wall = 2
    for room in range(1, wanted):
        for _ in range(8):
            wall = rand_int(e, 0, 3)
            wall += wall >= entry_wall  # any but the one of the entrance
            door = draw_exit(e, room - 1, wall)
            if fit_room(e, room, (wall + 2) % 4, door, largest):
                entry_wall = (wall + 2) % 4
                break
        else:
            return False
    return True


@compiled
def draw_exit(e: Record, room: int, wall: int) -> int:
    """A random cell for a door in a wall (right, down, left, up) of a room."""
    x, y, width, height = box_of(e, room)
    if wall == 0:
        return index(e, x + width - 1, y + rand_int(e, 1, height - 1))
    if wall == 1:
        return index(e, x + rand_int(e, 1, width - 1), y + height - 1)
    if wall == 2:
        return index(e, x, y + rand_int(e, 1, height - 1))
    return index(e, x + rand_int(e, 1, width - 1), y)


@compiled
def fit_room(e: Record, room: int, entry_wall: int, entry: int, largest: int) -> bool:
    """Draw a room with its entrance at ``entry`` in the given wall; whether it fits."""
    width, height = rand_int(e, 4, largest + 1), rand_int(e, 4, largest + 1)
    x, y = entry % e.width, entry // e.width
    if room > 0:
        if entry_wall in (0, 2):
            y = rand_int(e, y - height + 2, y)
            x -= width - 1 if entry_wall == 0 else 0
        else:
            x = rand_int(e, x - width + 2, x)
            y -= height - 1 if entry_wall == 1 else 0
    if x < 0 or y < 0 or x + width > e.width or y + height >= e.height:
        return False
    for other in range(room - 1):  # the room it is entered from may touch it
        left, top, wide, high = box_of(e, other)
        beside = x + width < left or left + wide <= x
        if not (beside or y + height < top or top + high <= y):
            return False
    box = e.room_box[4 * room : 4 * room + 4]
    box[0], box[1], box[2], box[3] = x, y, width, height
    e.room_entry[room] = entry
    return True


# --- mazes with obstructed doors ----------------------------------------------------------------

maze = partial(level, words=5)
small = partial(maze, rooms=(6, 1, 2), max_steps=288)
# quarters; start: column of the agent's room; boxed: keys in boxes; blocked: balls before doors;
# late (v1): keys are placed after all of the balls, so that no ball replaces a key.
large = partial(maze, rooms=(6, 3, 3))


@small("MiniGrid-ObstructedMaze-1Dl-v0", boxed=0, blocked=0)
@small("MiniGrid-ObstructedMaze-1Dlh-v0", boxed=1, blocked=0)
@small("MiniGrid-ObstructedMaze-1Dlhb-v0", boxed=1, blocked=1)
def obstructed_door(e: Record, boxed: int, blocked: int) -> None:
    """The ball is in the next room, behind a locked and maybe blocked door: pick it up."""
    build_rooms(e)
    colors = draw_colors(e, 6)
    add_obstructed_door(e, 0, 0, RIGHT_WALL, color_in(colors, 0), blocked)
    add_key(e, 0, 0, color_in(colors, 0), boxed)
    add_object(e, 1, 0, BALL_TYPE, BLUE)
    place_agent_in_room(e, 0, 0)
    pick_up(e, BALL_TYPE, BLUE)


@large(
    "MiniGrid-ObstructedMaze-2Dl-v0", max_steps=576, quarters=1, start=2, boxed=0, blocked=0, late=0
)
@large(
    "MiniGrid-ObstructedMaze-2Dlh-v0",
    max_steps=576,
    quarters=1,
    start=2,
    boxed=1,
    blocked=0,
    late=0,
)
@large(
    "MiniGrid-ObstructedMaze-2Dlhb-v0",
    max_steps=576,
    quarters=1,
    start=2,
    boxed=1,
    blocked=1,
    late=0,
)
@large(
    "MiniGrid-ObstructedMaze-1Q-v0", max_steps=720, quarters=1, start=1, boxed=1, blocked=1, late=0
)
@large(
    "MiniGrid-ObstructedMaze-2Q-v0", max_steps=1584, quarters=2, start=2, boxed=1, blocked=1, late=0
)
@large(
    "MiniGrid-ObstructedMaze-Full-v0",
    max_steps=3600,
    quarters=4,
    start=1,
    boxed=1,
    blocked=1,
    late=0,
)
@large(
    "MiniGrid-ObstructedMaze-2Dlhb-v1",
    max_steps=576,
    quarters=1,
    start=2,
    boxed=1,
    blocked=1,
    late=1,
)
@large(
    "MiniGrid-ObstructedMaze-1Q-v1", max_steps=720, quarters=1, start=1, boxed=1, blocked=1, late=1
)
@large(
    "MiniGrid-ObstructedMaze-2Q-v1", max_steps=1584, quarters=2, start=2, boxed=1, blocked=1, late=1
)
@large(
    "MiniGrid-ObstructedMaze-Full-v1",
    max_steps=3600,
    quarters=4,
    start=1,
    boxed=1,
    blocked=1,
    late=1,
)
def obstructed_maze(
    e: Record, quarters: int, start: int, boxed: int, blocked: int, late: int
) -> None:
    """The ball is in a corner room; each side room has locked doors to two corners: pick it up."""
    build_rooms(e)
    colors = draw_colors(e, 6)
    for side in range(quarters):
        i, j = side_room(side)
        add_door(e, 1, 1, side, color_in(colors, side), 0)
        for turn in (-1, 1):
            color = color_in(colors, (side + turn) % 6)
            add_obstructed_door(e, i, j, (side + turn) % 4, color, blocked)
            if not late:
                add_key(e, i, j, color, boxed)
        if late:
            for turn in (-1, 1):
                add_key(e, i, j, color_in(colors, (side + turn) % 6), boxed)
    corner = rand_int(e, 0, quarters)  # upper right, lower right, lower left, upper left
    add_object(e, 2 if corner < 2 else 0, 2 if corner in (1, 2) else 0, BALL_TYPE, BLUE)
    place_agent_in_room(e, start, 1)
    pick_up(e, BALL_TYPE, BLUE)


@compiled
def side_room(side: int) -> tuple[int, int]:
    """The room on one side of the middle one: right, down, left, up."""
    if side % 2 == 0:
        return 2 - side, 1
    return 1, 3 - side


@compiled
def add_obstructed_door(e: Record, i: int, j: int, wall: int, color: int, blocked: int) -> None:
    """A locked door, maybe with a green ball before it, which replaces what lies there."""
    door = add_door(e, i, j, wall, color, 1)
    if blocked:
        at = e.thing_at[door]
        if wall % 2 == 0:
            at -= 1 if wall == RIGHT_WALL else -1
        else:
            at -= e.width if wall == LOWER_WALL else -e.width
        put_thing(e, new_thing(e, BALL + GREEN), at)


@compiled
def add_key(e: Record, i: int, j: int, color: int, boxed: int) -> None:
    """A key in a room, maybe in a grey box."""
    thing = new_thing(e, KEY + color)
    if boxed:
        box = new_thing(e, BOX + GREY)
        e.thing_inside[box] = thing
        thing = box
    place_in_room(e, i, j, thing)


# --- a playground -------------------------------------------------------------------------------


@level("MiniGrid-Playground-v0", size=19, max_steps=100, words=1)
def playground(e: Record) -> None:
    """Nine rooms joined by doors, a dozen objects and no task."""
    walled(e)
    side = e.width // 3
    for row in range(3):
        for column in range(3):
            left, top = column * side, row * side
            if column < 2:
                wall_column(e, left + side, top, side)
                y = rand_int(e, top + 1, top + side - 1)
                set_cell(e, left + side, y, CLOSED_DOOR + rand_color(e))
            if row < 2:
                wall_row(e, left, top + side, side)
                x = rand_int(e, left + 1, left + side - 1)
                set_cell(e, x, top + side, CLOSED_DOOR + rand_color(e))
    place_agent(e, 0, 0, e.width, e.height)
    for _ in range(12):
        type = LOOSE_TYPES[rand_int(e, 0, 3)]
        place(e, loose_cell(type, rand_color(e)), 0, 0, e.width, e.height)
    say_nothing(e)
