"""Rooms of objects without a room grid: go to one, fetch one, put one near another."""

from __future__ import annotations

from functools import partial

from ..cells import BALL_TYPE, COLOR, KEY, KEY_TYPE, TYPE
from ..instructions import phrases, say, say_nothing, say_phrase
from ..jit import compiled
from ..record import NOTHING, Record
from ..registry import level
from ..rng import rand_int
from ..rooms import LOOSE_TYPES, loose_cell
from ..vocabulary import COLOR_WORDS, TYPE_WORDS
from ..world import (
    ENDLESS,
    find_place,
    new_thing,
    place,
    place_agent,
    put_thing,
    rand_color,
    reject,
    walled,
)

_GO_TO = phrases("go to the")[0]
_FETCH = phrases("get a", "go get a", "fetch a", "go fetch a", "you must fetch a")
_PUT, _NEAR = phrases("put the", "near the")

seen_through = partial(level, see_through=True)


@compiled
def say_cell(e: Record, cell: int) -> None:
    """ "red ball"."""
    say(e, COLOR_WORDS[COLOR[cell]])
    say(e, TYPE_WORDS[TYPE[cell]])


@compiled
def draw_new_cell(e: Record) -> int:
    """The cell of a key, ball or box that looks like no other thing so far."""
    for _ in range(ENDLESS):
        type = LOOSE_TYPES[rand_int(e, 0, 3)]
        cell = loose_cell(type, rand_color(e))
        taken = False
        for thing in range(e.things):
            taken |= e.thing_cell[thing] == cell
        if not taken:
            return cell
    reject(e)
    return KEY


@compiled
def place_apart(e: Record, cell: int) -> None:
    """Put a new thing where no other is on the cell or the eight around it."""
    for _ in range(ENDLESS):
        at = find_place(e, 0, 0, e.width, e.height, 1, 0)
        if at != NOTHING and not lies_around(e, at):
            put_thing(e, new_thing(e, cell), at)
            return
    reject(e)


@compiled
def lies_around(e: Record, at: int) -> bool:
    """Whether a thing lies within one cell, diagonals included."""
    for thing in range(e.things):
        dx = e.thing_at[thing] % e.width - at % e.width
        dy = e.thing_at[thing] // e.width - at // e.width
        if abs(dx) <= 1 and abs(dy) <= 1:
            return True
    return False


@seen_through("MiniGrid-GoToObject-6x6-N2-v0", size=6, max_steps=180, words=5, rule="say-done", n=2)
@seen_through("MiniGrid-GoToObject-8x8-N2-v0", size=8, max_steps=320, words=5, rule="say-done", n=2)
def go_to_and_say_so(e: Record, n: int) -> None:
    """Say done beside the initial cell of the object asked for."""
    walled(e)
    for _ in range(n):
        place(e, draw_new_cell(e), 0, 0, e.width, e.height)
    place_agent(e, 0, 0, e.width, e.height)
    thing = rand_int(e, 0, n)
    e.target = e.thing_at[thing]
    say_nothing(e)
    say_phrase(e, _GO_TO)
    say_cell(e, e.thing_cell[thing])


@seen_through("MiniGrid-Fetch-5x5-N2-v0", size=5, max_steps=125, words=6, rule="fetch", n=2)
@seen_through("MiniGrid-Fetch-6x6-N2-v0", size=6, max_steps=180, words=6, rule="fetch", n=2)
@seen_through("MiniGrid-Fetch-8x8-N3-v0", size=8, max_steps=320, words=6, rule="fetch", n=3)
def fetch(e: Record, n: int) -> None:
    """Pick up what is asked for, and nothing else."""
    walled(e)
    for _ in range(n):
        type = KEY_TYPE if rand_int(e, 0, 2) == 0 else BALL_TYPE
        place(e, loose_cell(type, rand_color(e)), 0, 0, e.width, e.height)
    place_agent(e, 0, 0, e.width, e.height)
    e.target = e.thing_cell[rand_int(e, 0, n)]
    say_nothing(e)
    say_phrase(e, _FETCH[rand_int(e, 0, 5)])
    say_cell(e, e.target)


@seen_through("MiniGrid-PutNear-6x6-N2-v0", size=6, max_steps=30, words=8, rule="put-near", n=2)
@seen_through("MiniGrid-PutNear-8x8-N3-v0", size=8, max_steps=40, words=8, rule="put-near", n=3)
def put_near(e: Record, n: int) -> None:
    """Put one object near another."""
    walled(e)
    for _ in range(n):
        place_apart(e, draw_new_cell(e))
    place_agent(e, 0, 0, e.width, e.height)
    e.target = rand_int(e, 0, n)
    near = e.target
    for _ in range(ENDLESS):
        near = rand_int(e, 0, n)
        if near != e.target:
            break
    if near == e.target:
        reject(e)
    e.decoy = e.thing_at[near]
    say_nothing(e)
    say_phrase(e, _PUT)
    say_cell(e, e.thing_cell[e.target])
    say_phrase(e, _NEAR)
    say_cell(e, e.thing_cell[near])
