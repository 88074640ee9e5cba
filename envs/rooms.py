"""Room grids: rooms in rows and columns, doors between them, objects and the agent inside.

Room (i, j) is column i, row j; walls and neighbours are in the order right, down, left, up. Random
draws follow the order of upstream's ``RoomGrid`` and ``RoomGridLevel``.
"""

from __future__ import annotations

import numpy as np

from .actions import front_index
from .cells import (
    BALL,
    BALL_TYPE,
    BOX,
    BOX_TYPE,
    CLOSED_DOOR,
    COLOR,
    DOOR_TYPE,
    EMPTY,
    KEY,
    KEY_TYPE,
    LOCKED_DOOR,
    OPEN_DOOR,
    TYPE,
    WALL_TYPE,
)
from .jit import compiled
from .record import NOTHING, Record
from .rng import rand_bool, rand_int
from .world import (
    ALL_COLORS,
    TRIES,
    find_place,
    index,
    new_thing,
    put_thing,
    rand_color,
    rand_color_among,
    reject,
    set_agent,
    wall_rect,
)

ANY = -1
RIGHT_WALL, LOWER_WALL, LEFT_WALL, UPPER_WALL = range(4)
OPENING = -2  # in place of a door: the wall was removed
MAX_DOOR_DRAWS = 5000
LOOSE_TYPES = np.array([KEY_TYPE, BALL_TYPE, BOX_TYPE], np.int8)  # the order of draws

_BIT = np.uint32(1)


@compiled
def loose_cell(type: int, color: int) -> int:
    """The cell of a key, ball or box."""
    if type == KEY_TYPE:
        return KEY + color
    if type == BALL_TYPE:
        return BALL + color
    return BOX + color


@compiled
def room_at(e: Record, x: int, y: int) -> int:
    """The index of the room that (x, y) belongs to; shared walls belong to the later room."""
    side = e.room_size - 1
    return (y // side) * e.room_columns + x // side


@compiled
def is_in_room(e: Record, room: int, at: int) -> bool:
    """Whether a cell lies in a room, walls included."""
    side = e.room_size - 1
    x, y = (
        at % e.width - room % e.room_columns * side,
        at // e.width - room // e.room_columns * side,
    )
    return 0 <= x <= side and 0 <= y <= side


@compiled
def neighbour(e: Record, room: int, wall: int) -> int:
    """The room beyond a wall, or NOTHING."""
    i, j = room % e.room_columns, room // e.room_columns
    if wall == RIGHT_WALL:
        return room + 1 if i < e.room_columns - 1 else NOTHING
    if wall == LOWER_WALL:
        return room + e.room_columns if j < e.room_rows - 1 else NOTHING
    if wall == LEFT_WALL:
        return room - 1 if i > 0 else NOTHING
    return room - e.room_columns if j > 0 else NOTHING


@compiled
def build_rooms(e: Record) -> None:
    """Build walls and draw door positions; until it is placed, the agent is in the middle."""
    side = e.room_size - 1
    rooms = e.room_rows * e.room_columns
    for room in range(rooms):
        x, y = room % e.room_columns * side, room // e.room_columns * side
        wall_rect(e, x, y, e.room_size, e.room_size)
        e.room_locked[room] = 0
        for wall in range(4):
            e.room_door[4 * room + wall] = NOTHING
            e.door_at[4 * room + wall] = NOTHING
    for room in range(rooms):
        x, y = room % e.room_columns * side, room // e.room_columns * side
        right, below = neighbour(e, room, RIGHT_WALL), neighbour(e, room, LOWER_WALL)
        if right != NOTHING:
            at = index(e, x + side, rand_int(e, y + 1, y + side))
            e.door_at[4 * room + RIGHT_WALL] = at
            e.door_at[4 * right + LEFT_WALL] = at
        if below != NOTHING:
            at = index(e, rand_int(e, x + 1, x + side), y + side)
            e.door_at[4 * room + LOWER_WALL] = at
            e.door_at[4 * below + UPPER_WALL] = at
    middle = e.room_size // 2
    set_agent(e, e.room_columns // 2 * side + middle, e.room_rows // 2 * side + middle, 0)


@compiled
def place_in_room(e: Record, i: int, j: int, thing: int) -> None:
    """Put a thing into room (i, j), not next to the agent, and on the room's list of objects."""
    side = e.room_size - 1
    at = find_place(e, i * side, j * side, e.room_size, e.room_size, 2, TRIES)
    if at == NOTHING:
        reject(e)
    else:
        put_thing(e, thing, at)
    e.thing_listed[thing] = 1


@compiled
def add_object(e: Record, i: int, j: int, type: int, color: int) -> int:
    """Add a key, ball or box to room (i, j); ANY draws the type or color. Returns the thing."""
    if type == ANY:
        type = LOOSE_TYPES[rand_int(e, 0, 3)]
    if color == ANY:
        color = rand_color(e)
    thing = new_thing(e, loose_cell(type, color))
    place_in_room(e, i, j, thing)
    return thing


@compiled
def add_distractors(e: Record, i: int, j: int, count: int, unique: bool) -> int:
    """Add ``count`` random objects to room (i, j), or each to a room drawn anew if ANY.

    Returns the first; the others are numbered consecutively. ``unique``: each looks different from
    all objects on the rooms' lists.
    """
    first = e.things
    added = 0
    for _ in range(MAX_DOOR_DRAWS):
        if added == count:
            return first
        color = rand_color(e)
        cell = loose_cell(LOOSE_TYPES[rand_int(e, 0, 3)], color)
        if unique and is_listed(e, cell):
            continue
        column = rand_int(e, 0, e.room_columns) if i == ANY else i
        row = rand_int(e, 0, e.room_rows) if j == ANY else j
        place_in_room(e, column, row, new_thing(e, cell))
        added += 1
    reject(e)
    return first


@compiled
def is_listed(e: Record, cell: int) -> bool:
    """Whether any room's list has an object that looks like ``cell``."""
    for thing in range(e.things):
        if e.thing_listed[thing] and e.thing_cell[thing] == cell:
            return True
    return False


@compiled
def has_passage(e: Record, room: int, wall: int) -> bool:
    """Whether a wall has a door or was removed."""
    return e.room_door[4 * room + wall] != NOTHING


@compiled
def add_door(e: Record, i: int, j: int, wall: int, color: int, locked: int) -> int:
    """Add a door to room (i, j); ANY draws the wall, color or lock. Returns the door."""
    room = j * e.room_columns + i
    if wall == ANY:
        for _ in range(TRIES):
            wall = rand_int(e, 0, 4)
            if neighbour(e, room, wall) != NOTHING and not has_passage(e, room, wall):
                break
        else:
            reject(e)
            return 0
    if color == ANY:
        color = rand_color(e)
    if locked == ANY:
        locked = 1 if rand_bool(e) else 0
    e.room_locked[room] = locked
    door = new_thing(e, (LOCKED_DOOR if locked else CLOSED_DOOR) + color)
    put_thing(e, door, e.door_at[4 * room + wall])
    join_rooms(e, room, wall, door)
    return door


@compiled
def join_rooms(e: Record, room: int, wall: int, door: int) -> None:
    """Record a door, or an OPENING, on both sides of a wall."""
    e.room_door[4 * room + wall] = door
    e.room_door[4 * neighbour(e, room, wall) + (wall + 2) % 4] = door


@compiled
def remove_wall(e: Record, i: int, j: int, wall: int) -> None:
    """Remove a wall of room (i, j), except for its corners."""
    side = e.room_size - 1
    for k in range(1, side):
        if wall in (RIGHT_WALL, LEFT_WALL):
            at = index(e, i * side + (side if wall == RIGHT_WALL else 0), j * side + k)
        else:
            at = index(e, i * side + k, j * side + (side if wall == LOWER_WALL else 0))
        e.grid[at] = EMPTY
    join_rooms(e, j * e.room_columns + i, wall, OPENING)


@compiled
def place_agent_in_room(e: Record, i: int, j: int) -> None:
    """Put the agent into room (i, j), ANY drawn, with a wall or an empty cell ahead."""
    if i == ANY:
        i = rand_int(e, 0, e.room_columns)
    if j == ANY:
        j = rand_int(e, 0, e.room_rows)
    side = e.room_size - 1
    for _ in range(TRIES):
        e.x, e.y = NOTHING, NOTHING
        at = find_place(e, i * side, j * side, e.room_size, e.room_size, 0, TRIES)
        if at == NOTHING:
            break
        set_agent(e, at % e.width, at // e.width, rand_int(e, 0, 4))
        ahead = e.grid[front_index(e)]
        if ahead == EMPTY or TYPE[ahead] == WALL_TYPE:
            return
    reject(e)
    set_agent(e, i * side + 1, j * side + 1, 0)


@compiled
def place_agent_outside(e: Record, room: int) -> None:
    """Put the agent anywhere but in one room (NOTHING: anywhere)."""
    for _ in range(TRIES):
        place_agent_in_room(e, ANY, ANY)
        if room_at(e, e.x, e.y) != room:
            return
    reject(e)


@compiled
def connected_rooms(e: Record) -> int:
    """How many rooms are connected to the agent's by doors, locked or not, or openings."""
    rooms = e.room_rows * e.room_columns
    reached = 1 << room_at(e, e.x, e.y)
    for _ in range(rooms):
        for room in range(rooms):
            if (reached >> room) & 1:
                for wall in range(4):
                    if has_passage(e, room, wall):
                        reached |= 1 << neighbour(e, room, wall)
    count = 0
    for room in range(rooms):
        count += (reached >> room) & 1
    return count


@compiled
def connect_all(e: Record, forbidden: int) -> None:
    """Add unlocked doors at random walls until every room is connected.

    Doors have any color but ``forbidden`` (ANY: all colors). A room whose own last door was locked
    gets no more doors.
    """
    rooms = e.room_rows * e.room_columns
    colors = ALL_COLORS if forbidden == ANY else ALL_COLORS ^ (1 << forbidden)
    grown = True
    for _ in range(MAX_DOOR_DRAWS + 1):
        if grown and connected_rooms(e) == rooms:
            return
        grown = False
        i, j = rand_int(e, 0, e.room_columns), rand_int(e, 0, e.room_rows)
        wall = rand_int(e, 0, 4)
        room = j * e.room_columns + i
        other = neighbour(e, room, wall)
        if other == NOTHING or has_passage(e, room, wall):
            continue
        if e.room_locked[room] or e.room_locked[other]:
            continue
        add_door(e, i, j, wall, rand_color_among(e, colors), 0)
        grown = True
    reject(e)


@compiled
def open_all_doors(e: Record) -> None:
    """Open every door."""
    for thing in range(e.things):
        if TYPE[e.thing_cell[thing]] == DOOR_TYPE:
            e.grid[e.thing_at[thing]] = OPEN_DOOR + COLOR[e.thing_cell[thing]]


@compiled
def all_reachable(e: Record) -> bool:
    """Whether the agent can reach a cell beside every object; objects block, doors do not.

    A flood fill with one bit mask per row.
    """
    for y in range(e.height):
        free = np.uint32(0)
        for x in range(e.width):
            cell = e.grid[y * e.width + x]
            if cell == EMPTY or TYPE[cell] == DOOR_TYPE:
                free |= _BIT << np.uint32(x)
        e.open_cells[y] = free
        e.reached[y] = 0
    e.reached[e.y] = _BIT << np.uint32(e.x)
    while spread(e):
        pass
    for y in range(e.height):
        beside = e.reached[y] | (e.reached[y] << _BIT) | (e.reached[y] >> _BIT)
        if y > 0:
            beside |= e.reached[y - 1]
        if y < e.height - 1:
            beside |= e.reached[y + 1]
        for x in range(e.width):
            cell = e.grid[y * e.width + x]
            if cell != EMPTY and TYPE[cell] != WALL_TYPE and not (beside >> np.uint32(x)) & _BIT:
                return False
    return True


@compiled
def spread(e: Record) -> bool:
    """One sweep of the flood fill, down and up; whether it reached anything new."""
    grown = False
    for sweep in range(2 * e.height):
        y = sweep if sweep < e.height else 2 * e.height - 1 - sweep
        before = e.reached[y]
        row = before
        if y > 0:
            row |= e.reached[y - 1]
        if y < e.height - 1:
            row |= e.reached[y + 1]
        row &= e.open_cells[y]
        last = np.uint32(0)
        while row != last:
            last = row
            row |= ((row << _BIT) | (row >> _BIT)) & e.open_cells[y]
        if row != before:
            e.reached[y] = row
            grown = True
    return grown


@compiled
def require_reachable(e: Record) -> None:
    """Reject the layout if an object cannot be reached."""
    if not all_reachable(e):
        reject(e)
