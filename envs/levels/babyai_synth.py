"""BabyAI: instructions drawn from the whole grammar (Chevalier-Boisvert et al. 2019, §3.2)."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..cells import ALPHABETICAL, BALL_TYPE, BOX_TYPE, DOOR_TYPE, KEY_TYPE
from ..instructions import (
    AFTER,
    BEFORE,
    GO_TO,
    OPEN_IT,
    PICK_UP,
    PUT_NEXT,
    describe,
    holds,
    instruct,
    join_halves,
)
from ..jit import compiled
from ..record import NOTHING, Record
from ..registry import level
from ..rng import rand_bool, rand_float, rand_int
from ..rooms import (
    ANY,
    add_distractors,
    add_door,
    add_object,
    build_rooms,
    connect_all,
    is_in_room,
    neighbour,
    place_agent_outside,
    require_reachable,
)
from ..world import ENDLESS, color_of, reject

# In the order of random draws.
_VERBS = np.array([GO_TO, PICK_UP, OPEN_IT, PUT_NEXT], np.int8)
_TYPES = np.array([BOX_TYPE, BALL_TYPE, KEY_TYPE, DOOR_TYPE], np.int8)
DESCRIPTION_TRIES = 101

# locked: probability of a locked room; places: objects may be described by where they are;
# unblocking: objects may have to be moved out of the way; implicit: the mission may be about things
# in the locked room only; verb: the only one, ANY for all; forms: 1 for single actions, 3 for "and"
# and sequences too.
synth = partial(
    level,
    rooms=(8, 3, 3),
    distractors=18,
    locked=0.5,
    places=1,
    unblocking=1,
    implicit=0,
    verb=ANY,
    forms=3,
)


@synth("BabyAI-GoToSeq-v0", locked=0.0, places=0, unblocking=0, implicit=1, verb=GO_TO)
@synth(
    "BabyAI-GoToSeqS5R2-v0",
    rooms=(5, 2, 2),
    distractors=4,
    locked=0.0,
    places=0,
    unblocking=0,
    implicit=1,
    verb=GO_TO,
)
@synth(
    "BabyAI-PickupLoc-v0",
    rooms=(8, 1, 1),
    words=9,
    distractors=8,
    locked=0.0,
    unblocking=0,
    implicit=1,
    verb=PICK_UP,
    forms=1,
)
@synth("BabyAI-Synth-v0", words=9, places=0, forms=1)
@synth("BabyAI-SynthS5R2-v0", rooms=(5, 2, 3), words=9, places=0, forms=1)
@synth("BabyAI-SynthLoc-v0", words=17, forms=1)
@synth("BabyAI-SynthSeq-v0")
@synth("BabyAI-MiniBossLevel-v0", rooms=(5, 2, 2), distractors=7, locked=0.25, implicit=1)
@synth("BabyAI-BossLevel-v0", implicit=1)
@synth("BabyAI-BossLevelNoUnlock-v0", locked=0.0)
def synthesize(
    e: Record,
    distractors: int,
    locked: float,
    places: int,
    unblocking: int,
    implicit: int,
    verb: int,
    forms: int,
) -> None:
    """A maze of objects, maybe with a locked room, and any instruction."""
    build_rooms(e)
    e.unblocking = unblocking
    if rand_float(e) < locked:
        lock_room(e)
    connect_all(e, ANY)
    add_distractors(e, ANY, ANY, distractors, False)
    place_agent_outside(e, e.locked_room)
    if not unblocking:
        require_reachable(e)
    form = rand_int(e, 0, forms)
    if form < 2:
        draw_half(e, 0, form, verb, places, implicit)
    else:
        draw_half(e, 0, rand_int(e, 0, 2), verb, places, implicit)
        draw_half(e, 1, rand_int(e, 0, 2), verb, places, implicit)
        join_halves(e, BEFORE if rand_int(e, 0, 2) == 0 else AFTER)


@compiled
def lock_room(e: Record) -> None:
    """Lock a random room, and put its key into another one."""
    door = NOTHING
    for _ in range(ENDLESS):
        i, j = rand_int(e, 0, e.room_columns), rand_int(e, 0, e.room_rows)
        wall = rand_int(e, 0, 4)
        e.locked_room = j * e.room_columns + i
        if neighbour(e, e.locked_room, wall) != NOTHING:
            door = add_door(e, i, j, wall, ANY, 1)
            break
    if door == NOTHING:
        reject(e)
        return
    for _ in range(ENDLESS):
        i, j = rand_int(e, 0, e.room_columns), rand_int(e, 0, e.room_rows)
        if j * e.room_columns + i != e.locked_room:
            add_object(e, i, j, KEY_TYPE, color_of(e, door))
            return
    reject(e)


@compiled
def draw_half(e: Record, half: int, both: int, verb: int, places: int, implicit: int) -> None:
    """One action, or two joined by "and"."""
    for leaf in range(2 * half, 2 * half + 1 + both):
        draw_leaf(e, leaf, verb, places, implicit)


@compiled
def draw_leaf(e: Record, leaf: int, verb: int, places: int, implicit: int) -> None:
    """One action on things that exist."""
    kind = _VERBS[rand_int(e, 0, 4)] if verb == ANY else verb
    instruct(e, leaf, kind, ANY, ANY, ANY)
    first, last = 0, 4  # of the types that may be named
    if kind == OPEN_IT:
        first = 3
    elif kind != GO_TO:
        last = 3
    draw_description(e, 2 * leaf, first, last, places, implicit)
    if kind == PUT_NEXT:
        draw_description(e, 2 * leaf + 1, 0, 4, places, implicit)


@compiled
def draw_description(
    e: Record, slot: int, first: int, last: int, places: int, implicit: int
) -> None:
    """A description that something matches, outside the locked room unless ``implicit``."""
    for _ in range(DESCRIPTION_TRIES):
        drawn = rand_int(e, 0, 7)
        color = ALPHABETICAL[drawn - 1] if drawn > 0 else ANY
        type = _TYPES[rand_int(e, first, last)]
        place = ANY
        if places and rand_bool(e):
            place = rand_int(e, 0, 4)
        describe(e, slot, type, color, place)
        if is_met(e, slot, implicit):
            return
    reject(e)


@compiled
def is_met(e: Record, slot: int, implicit: int) -> bool:
    """Whether a thing matches, outside the locked room unless ``implicit``."""
    for thing in range(e.things):
        if holds(e.desc_things[slot], thing):
            hidden = e.locked_room != NOTHING and is_in_room(e, e.locked_room, e.thing_at[thing])
            if implicit or not hidden:
                return True
    return False
