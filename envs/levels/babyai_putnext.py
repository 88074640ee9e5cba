"""BabyAI: put one object next to another."""

from __future__ import annotations

from functools import partial

from ..instructions import BEFORE, join_halves, put_next
from ..record import Record
from ..registry import level
from ..rng import rand_bool, rand_int
from ..rooms import (
    ANY,
    RIGHT_WALL,
    add_distractors,
    build_rooms,
    place_agent_in_room,
    remove_wall,
    require_reachable,
)
from ..world import draw_pair

across = partial(level, words=9, carrying=0)


@level("BabyAI-PutNextLocal-v0", rooms=(8, 1, 1), words=9, objects=8)
@level("BabyAI-PutNextLocalS5N3-v0", rooms=(5, 1, 1), words=9, objects=3)
@level("BabyAI-PutNextLocalS6N4-v0", rooms=(6, 1, 1), words=9, objects=4)
def put_next_here(e: Record, objects: int) -> None:
    """Put one object of a room next to another."""
    build_rooms(e)
    place_agent_in_room(e, ANY, ANY)
    first = add_distractors(e, ANY, ANY, objects, True)
    require_reachable(e)
    mover, fixed = draw_pair(e, objects)
    put_next(e, 0, first + mover, first + fixed)


@across("BabyAI-PutNextS4N1-v0", rooms=(4, 1, 2), max_steps=128, objects=1)
@across("BabyAI-PutNextS5N1-v0", rooms=(5, 1, 2), max_steps=200, objects=1)
@across("BabyAI-PutNextS5N2-v0", rooms=(5, 1, 2), max_steps=200, objects=2)
@across("BabyAI-PutNextS6N3-v0", rooms=(6, 1, 2), max_steps=288, objects=3)
@across("BabyAI-PutNextS7N4-v0", rooms=(7, 1, 2), max_steps=392, objects=4)
@across("BabyAI-PutNextS5N2Carrying-v0", rooms=(5, 1, 2), max_steps=200, objects=2, carrying=1)
@across("BabyAI-PutNextS6N3Carrying-v0", rooms=(6, 1, 2), max_steps=288, objects=3, carrying=1)
@across("BabyAI-PutNextS7N4Carrying-v0", rooms=(7, 1, 2), max_steps=392, objects=4, carrying=1)
def put_next_across(e: Record, objects: int, carrying: int) -> None:
    """Put an object of one half of the room next to one of the other half."""
    build_rooms(e)
    place_agent_in_room(e, 0, 0)
    left = add_distractors(e, 0, 0, objects, True)
    right = add_distractors(e, 1, 0, objects, True)
    remove_wall(e, 0, 0, RIGHT_WALL)
    mover = rand_int(e, left, left + objects)
    fixed = rand_int(e, right, right + objects)
    if rand_bool(e):
        mover, fixed = fixed, mover
    if carrying:
        e.take_at_start = mover
    put_next(e, 0, mover, fixed)


@level("BabyAI-MoveTwoAcrossS5N2-v0", rooms=(5, 1, 2), max_steps=400, words=20, objects=2)
@level("BabyAI-MoveTwoAcrossS8N9-v0", rooms=(8, 1, 2), max_steps=1024, words=20, objects=9)
def move_two_across(e: Record, objects: int) -> None:
    """Move one object from left to right, then another from right to left."""
    build_rooms(e)
    place_agent_in_room(e, 0, 0)
    left = add_distractors(e, 0, 0, objects, True)
    right = add_distractors(e, 1, 0, objects, True)
    remove_wall(e, 0, 0, RIGHT_WALL)
    a, d = draw_pair(e, objects)
    b, c = draw_pair(e, objects)
    put_next(e, 0, left + a, right + b)
    put_next(e, 2, right + c, left + d)
    join_halves(e, BEFORE)
