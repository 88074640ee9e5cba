"""Building a layout: walls, things (objects with an identity), random places.

``e`` is one environment's record. Positions ``at`` are cell indices, ``y * width + x``.
"""

from __future__ import annotations

from .cells import ALPHABETICAL, COLOR, EMPTY, GOAL, TYPE, WALL
from .jit import compiled
from .record import MAX_THINGS, NOTHING, Record
from .rng import rand_int, save_stream

ALL_COLORS = 0b111111  # one bit per color
TRIES = 1000  # upstream's limit, where it has one
ENDLESS = 100_000  # ours, where upstream would try for ever
DOUBT = 100  # after which we look whether there is any place


@compiled
def reject(e: Record) -> None:
    """Reject this layout; the next one is drawn from the current state of the random stream.

    The level's function still runs to its end, but what it draws after this does not count.
    """
    if not e.rejected:
        e.rejected = 1
        save_stream(e)


@compiled
def begin(e: Record) -> None:
    """Empty the grid and reset the state of the last episode."""
    e.width, e.height = e.full_width, e.full_height
    for at in range(e.width * e.height):
        e.grid[at] = EMPTY
    e.x, e.y, e.direction = -1, -1, 0
    e.things, e.steps, e.root = 0, 0, 0
    e.held, e.carrying = NOTHING, EMPTY
    e.max_steps = e.step_limit
    e.terminated, e.truncated, e.reward = 0, 0, 0.0
    e.rejected, e.take_at_start, e.locked_room, e.unblocking = 0, NOTHING, NOTHING, 0


@compiled
def index(e: Record, x: int, y: int) -> int:
    """The index of cell (x, y)."""
    return y * e.width + x


@compiled
def is_inside(e: Record, x: int, y: int) -> bool:
    """Whether (x, y) is on the grid."""
    return 0 <= x < e.width and 0 <= y < e.height


@compiled
def set_cell(e: Record, x: int, y: int, cell: int) -> None:
    """Put a cell without identity (wall, goal, lava, empty) at (x, y); `reject` if off the grid."""
    if is_inside(e, x, y):
        e.grid[y * e.width + x] = cell
    else:
        reject(e)


@compiled
def wall_row(e: Record, x: int, y: int, length: int) -> None:
    """A horizontal wall, starting at (x, y)."""
    for i in range(length):
        set_cell(e, x + i, y, WALL)


@compiled
def wall_column(e: Record, x: int, y: int, length: int) -> None:
    """A vertical wall, starting at (x, y)."""
    for i in range(length):
        set_cell(e, x, y + i, WALL)


@compiled
def wall_rect(e: Record, x: int, y: int, width: int, height: int) -> None:
    """The four walls of a rectangle with its top left corner at (x, y)."""
    wall_row(e, x, y, width)
    wall_row(e, x, y + height - 1, width)
    wall_column(e, x, y, height)
    wall_column(e, x + width - 1, y, height)


@compiled
def walled(e: Record) -> None:
    """Walls around the whole grid."""
    wall_rect(e, 0, 0, e.width, e.height)


@compiled
def goal_in_corner(e: Record) -> None:
    """The green goal in the bottom right corner."""
    set_cell(e, e.width - 2, e.height - 2, GOAL)


@compiled
def new_thing(e: Record, cell: int) -> int:
    """A new thing, not on the grid yet; a 65th rejects the layout."""
    if e.things >= MAX_THINGS:
        reject(e)
        return MAX_THINGS - 1
    thing = e.things
    e.things += 1
    e.thing_cell[thing] = cell
    e.thing_at[thing] = NOTHING
    e.thing_inside[thing] = NOTHING
    e.thing_listed[thing] = 0
    return thing


@compiled
def thing_on(e: Record, at: int) -> int:
    """The thing at a cell index, or NOTHING."""
    for thing in range(e.things):
        if e.thing_at[thing] == at:
            return thing
    return NOTHING


@compiled
def put_thing(e: Record, thing: int, at: int) -> None:
    """Put a thing on a cell, replacing what lies there."""
    buried = thing_on(e, at)
    if buried != NOTHING:
        e.thing_at[buried] = NOTHING
    e.thing_at[thing] = at
    e.grid[at] = e.thing_cell[thing]


@compiled
def put(e: Record, x: int, y: int, cell: int) -> int:
    """Put a new thing that looks like ``cell`` at (x, y), `reject` if off the grid; returns it."""
    thing = new_thing(e, cell)
    if is_inside(e, x, y):
        put_thing(e, thing, index(e, x, y))
    else:
        reject(e)
    return thing


@compiled
def find_place(
    e: Record, x: int, y: int, width: int, height: int, distance: int, tries: int
) -> int:
    """A random empty cell of a rectangle, at least ``distance`` steps from the agent, or NOTHING.

    Draws x, then y, up to ``tries + 1`` times, as upstream's ``place_obj`` with that limit.
    """
    x, y = max(x, 0), max(y, 0)
    right, bottom = min(x + width, e.width), min(y + height, e.height)
    if right <= x or bottom <= y:
        return NOTHING
    for _ in range(tries + 1):
        i, j = rand_int(e, x, right), rand_int(e, y, bottom)
        if is_place(e, i, j, distance):
            return index(e, i, j)
    return NOTHING


@compiled
def is_place(e: Record, x: int, y: int, distance: int) -> bool:
    """Whether (x, y) is empty and at least ``distance`` steps from the agent."""
    return e.grid[index(e, x, y)] == EMPTY and abs(e.x - x) + abs(e.y - y) >= distance


@compiled
def has_place(e: Record, x: int, y: int, width: int, height: int, distance: int) -> bool:
    """Whether ``find_place`` could find one."""
    x, y = max(x, 0), max(y, 0)
    for i in range(x, min(x + width, e.width)):
        for j in range(y, min(y + height, e.height)):
            if is_place(e, i, j, distance):
                return True
    return False


@compiled
def find_any_place(e: Record, x: int, y: int, width: int, height: int, distance: int) -> int:
    """As ``find_place`` where upstream tries for ever: NOTHING, soon, if there is no such cell."""
    at = find_place(e, x, y, width, height, distance, DOUBT)
    if at == NOTHING and has_place(e, x, y, width, height, distance):
        return find_place(e, x, y, width, height, distance, ENDLESS)
    return at


@compiled
def place_thing(e: Record, thing: int, x: int, y: int, width: int, height: int) -> None:
    """Put a thing on a random empty cell of a rectangle."""
    at = find_any_place(e, x, y, width, height, 1)
    if at == NOTHING:
        reject(e)
    else:
        put_thing(e, thing, at)


@compiled
def place(e: Record, cell: int, x: int, y: int, width: int, height: int) -> int:
    """Put a new thing on a random empty cell of a rectangle; returns it."""
    thing = new_thing(e, cell)
    place_thing(e, thing, x, y, width, height)
    return thing


@compiled
def place_cell(e: Record, cell: int, x: int, y: int, width: int, height: int) -> None:
    """Put a cell without an identity on a random empty cell of a rectangle."""
    at = find_any_place(e, x, y, width, height, 1)
    if at == NOTHING:
        reject(e)
    else:
        e.grid[at] = cell


@compiled
def set_agent(e: Record, x: int, y: int, direction: int) -> None:
    """Put the agent at (x, y), facing right, down, left, up (0 to 3); `reject` if off the grid."""
    if is_inside(e, x, y):
        e.x, e.y, e.direction = x, y, direction
    else:
        reject(e)


@compiled
def place_agent(e: Record, x: int, y: int, width: int, height: int) -> None:
    """Put the agent on a random empty cell of a rectangle, facing a random direction."""
    e.x, e.y = -1, -1
    at = find_any_place(e, x, y, width, height, 0)
    if at == NOTHING:
        reject(e)
        at = 0
    set_agent(e, at % e.width, at // e.width, rand_int(e, 0, 4))


@compiled
def rand_color(e: Record) -> int:
    """A random color, drawn from upstream's alphabetical list."""
    return ALPHABETICAL[rand_int(e, 0, 6)]


@compiled
def rand_color_among(e: Record, colors: int) -> int:
    """A random color, drawn from the alphabetical list of those whose bit is set."""
    count = 0
    for color in ALPHABETICAL:
        count += (colors >> color) & 1
    drawn = rand_int(e, 0, count)
    for color in ALPHABETICAL:
        if (colors >> color) & 1:
            if drawn == 0:
                return color
            drawn -= 1
    return ALPHABETICAL[0]


@compiled
def draw_colors(e: Record, count: int) -> int:
    """``count`` distinct random colors, packed four bits each, the first one lowest."""
    left, drawn = ALL_COLORS, 0
    for i in range(count):
        color = rand_color_among(e, left)
        left ^= 1 << color
        drawn |= color << (4 * i)
    return drawn


@compiled
def color_in(drawn: int, i: int) -> int:
    """The i-th of the colors that ``draw_colors`` packed."""
    return (drawn >> (4 * i)) & 15


@compiled
def draw_pair(e: Record, count: int) -> tuple[int, int]:
    """Two distinct random numbers below ``count``."""
    first, second = rand_int(e, 0, count), rand_int(e, 0, count - 1)
    return first, second + (second >= first)


@compiled
def type_of(e: Record, thing: int) -> int:
    """A thing's type, as upstream's index."""
    return TYPE[e.thing_cell[thing]]


@compiled
def color_of(e: Record, thing: int) -> int:
    """A thing's color, as upstream's index."""
    return COLOR[e.thing_cell[thing]]
