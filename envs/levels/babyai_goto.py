"""BabyAI: go to an object or a door."""

from __future__ import annotations

from typing import Any

from ..cells import BALL_TYPE, GREY, RED
from ..instructions import go_to
from ..registry import level
from ..rng import rand_int
from ..rooms import (
    ANY,
    add_distractors,
    add_object,
    build_rooms,
    loose_cell,
    place_agent_in_room,
    require_reachable,
)
from ..world import color_of, type_of


@level("BabyAI-GoToRedBallGrey-v0", rooms=(8, 1, 1), words=5, distractors=7, grey=1)
@level("BabyAI-GoToRedBall-v0", rooms=(8, 1, 1), words=5, distractors=7, grey=0)
@level("BabyAI-GoToRedBallNoDists-v0", rooms=(8, 1, 1), words=5, distractors=0, grey=0)
def go_to_red_ball(e: Any, distractors: int, grey: int) -> None:
    """One room with the red ball, and others that may all be painted grey."""
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


@level("BabyAI-GoToObj-v0", rooms=(8, 1, 1), words=5)
@level("BabyAI-GoToObjS4-v0", rooms=(4, 1, 1), words=5)
@level("BabyAI-GoToObjS6-v1", rooms=(6, 1, 1), words=5)
def go_to_object(e: Any) -> None:
    """One room, one object."""
    build_rooms(e)
    place_agent_in_room(e, ANY, ANY)
    thing = add_distractors(e, ANY, ANY, 1, True)
    go_to(e, type_of(e, thing), color_of(e, thing))


@level("BabyAI-GoToLocal-v0", rooms=(8, 1, 1), words=5, distractors=8)
@level("BabyAI-GoToLocalS5N2-v0", rooms=(5, 1, 1), words=5, distractors=2)
@level("BabyAI-GoToLocalS6N2-v0", rooms=(6, 1, 1), words=5, distractors=2)
@level("BabyAI-GoToLocalS6N3-v0", rooms=(6, 1, 1), words=5, distractors=3)
@level("BabyAI-GoToLocalS6N4-v0", rooms=(6, 1, 1), words=5, distractors=4)
@level("BabyAI-GoToLocalS7N4-v0", rooms=(7, 1, 1), words=5, distractors=4)
@level("BabyAI-GoToLocalS7N5-v0", rooms=(7, 1, 1), words=5, distractors=5)
@level("BabyAI-GoToLocalS8N2-v0", rooms=(8, 1, 1), words=5, distractors=2)
@level("BabyAI-GoToLocalS8N3-v0", rooms=(8, 1, 1), words=5, distractors=3)
@level("BabyAI-GoToLocalS8N4-v0", rooms=(8, 1, 1), words=5, distractors=4)
@level("BabyAI-GoToLocalS8N5-v0", rooms=(8, 1, 1), words=5, distractors=5)
@level("BabyAI-GoToLocalS8N6-v0", rooms=(8, 1, 1), words=5, distractors=6)
@level("BabyAI-GoToLocalS8N7-v0", rooms=(8, 1, 1), words=5, distractors=7)
def go_to_local(e: Any, distractors: int) -> None:
    """One room of objects; go to one of them."""
    build_rooms(e)
    place_agent_in_room(e, ANY, ANY)
    first = add_distractors(e, ANY, ANY, distractors, False)
    require_reachable(e)
    thing = rand_int(e, first, first + distractors)
    go_to(e, type_of(e, thing), color_of(e, thing))
