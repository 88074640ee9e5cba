"""Instructions: what the mission asks for, encoded as integers, and their verification.

An instruction has one or two halves of one or two leaves each: "open a door", "a and b", "a, then
b", "a after you b". A leaf (go to, open, pick up, put next) has one or two descriptions; a
description tracks the set of things that matched it when the episode began (Chevalier-Boisvert et
al. 2019, with the behaviour of upstream's ``verifier.py``).
"""

from __future__ import annotations

import numpy as np

from .actions import DONE, DROP, PICKUP, TOGGLE, fail, front_index, success
from .cells import COLOR, DOOR_TYPE, EMPTY, GREY, KEY_TYPE, OPEN_DOOR, TYPE
from .jit import compiled
from .record import NOTHING, Record
from .vocabulary import COLOR_WORDS, TYPE_WORDS, encode, token
from .world import reject

ANY = -1
GO_TO, OPEN_IT, PICK_UP, PUT_NEXT = 1, 2, 3, 4  # kinds of leaf
ALONE, BEFORE, AFTER = 1, 2, 3  # how halves are joined; "and" joins leaves inside a half
LEFT, RIGHT, FRONT, BEHIND = 0, 1, 2, 3  # places, relative to the agent at the start
CONTINUE, SUCCESS, FAILURE = 0, 1, 2

_ONE, _NONE = np.uint64(1), np.uint64(0)

_A, _THE, _OBJECT = token("a"), token("the"), token("object")
_AND, _COMMA, _THEN, _AFTER, _YOU = (token(w) for w in ("and", ",", "then", "after", "you"))


def phrases(*texts: str) -> np.ndarray:
    """The texts' tokens, one row each, padded with 0."""
    rows = [encode(text) for text in texts]
    longest = max(len(row) for row in rows)
    return np.array([row + [0] * (longest - len(row)) for row in rows], np.uint8)


_VERBS = phrases("", "go to", "open", "pick up", "put")
_PLACES = phrases("on your left", "on your right", "in front of you", "behind you")
_NEXT_TO = phrases("next to")


# --- building one -------------------------------------------------------------------------------


@compiled
def instruct(e: Record, leaf: int, kind: int, type: int, color: int, place: int) -> None:
    """Make leaf ``leaf`` (0 and 1 in the first half, 2 and 3 in the second) ask for a thing.

    An ANY type, color or place stays unsaid. Set the leaves of a half in order; the second half
    counts once ``join_halves`` adds it.
    """
    e.leaf_kind[leaf] = kind
    e.leaf_strict[leaf] = 0
    describe(e, 2 * leaf, type, color, place)
    e.half_leaves[leaf // 2] = leaf % 2 + 1
    if leaf < 2:
        e.root, e.root_strict = ALONE, 0


@compiled
def describe(e: Record, slot: int, type: int, color: int, place: int) -> None:
    """Set description ``slot`` and the things on the grid that match it now."""
    e.desc_type[slot], e.desc_color[slot], e.desc_place[slot] = type, color, place
    e.desc_things[slot] = matching(e, type, color, place)


@compiled
def join_halves(e: Record, root: int) -> None:
    """Join the halves: ask for the first one BEFORE or AFTER (``root``) the second."""
    e.root = root


@compiled
def go_to(e: Record, type: int, color: int) -> None:
    """The whole instruction, as in "go to the red ball"."""
    instruct(e, 0, GO_TO, type, color, ANY)


@compiled
def open_it(e: Record, color: int) -> None:
    """The whole instruction, as in "open the red door"."""
    instruct(e, 0, OPEN_IT, DOOR_TYPE, color, ANY)


@compiled
def pick_up(e: Record, type: int, color: int) -> None:
    """The whole instruction, as in "pick up the red ball"."""
    instruct(e, 0, PICK_UP, type, color, ANY)


@compiled
def put_next(e: Record, leaf: int, thing: int, neighbour: int) -> None:
    """Make ``leaf`` ask to put what looks like ``thing`` next to what looks like ``neighbour``."""
    mover, fixed = e.thing_cell[thing], e.thing_cell[neighbour]
    instruct(e, leaf, PUT_NEXT, TYPE[mover], COLOR[mover], ANY)
    describe(e, 2 * leaf + 1, TYPE[fixed], COLOR[fixed], ANY)


# --- descriptions -------------------------------------------------------------------------------


@compiled
def lies(e: Record, at: int, place: int) -> bool:
    """Whether cell ``at`` lies in the agent's room and at ``place`` relative to the agent."""
    dx, dy = at % e.width - e.x, at // e.width - e.y
    side = e.room_size - 1
    left, top = e.x // side * side, e.y // side * side
    inside = left <= e.x + dx <= left + side and top <= e.y + dy <= top + side
    if e.direction == 0:
        ahead, right = dx, dy
    elif e.direction == 1:
        ahead, right = dy, -dx
    elif e.direction == 2:
        ahead, right = -dx, -dy
    else:
        ahead, right = -dy, dx
    if place == LEFT:
        return inside and right < 0
    if place == RIGHT:
        return inside and right > 0
    if place == FRONT:
        return inside and ahead > 0
    return inside and ahead < 0


@compiled
def matching(e: Record, type: int, color: int, place: int) -> np.uint64:
    """The set of things on the grid that match a description, one bit per thing."""
    found = _NONE
    for thing in range(e.things):
        at = e.thing_at[thing]
        if at == NOTHING:
            continue
        cell = e.grid[at]
        if type != ANY and TYPE[cell] != type:
            continue
        if color != ANY and COLOR[cell] != color:
            continue
        if place != ANY and not lies(e, at, place):
            continue
        found |= _ONE << np.uint64(thing)
    return found


@compiled
def holds(things: np.uint64, thing: int) -> bool:
    """Whether a set of things contains ``thing``."""
    return thing != NOTHING and (things >> np.uint64(thing)) & _ONE == _ONE


@compiled
def is_plural(e: Record, slot: int) -> bool:
    """Whether several cells match; walls count as grey objects, as upstream has it."""
    things = e.desc_things[slot]
    many = things & (things - _ONE) != _NONE
    grey_object = e.desc_type[slot] == ANY and e.desc_color[slot] in (ANY, GREY)
    return many or grey_object


# --- words --------------------------------------------------------------------------------------


@compiled
def say(e: Record, word: int) -> None:
    """Add one token to the mission, or reject the layout if there is no room for it."""
    if e.mission_length >= e.mission.size:
        reject(e)
    else:
        e.mission[e.mission_length] = word
        e.mission_length += 1


@compiled
def say_phrase(e: Record, words: np.ndarray) -> None:
    """Add a padded row of tokens to the mission."""
    for word in words:
        if word:
            say(e, word)


@compiled
def say_nothing(e: Record) -> None:
    """Empty the mission."""
    for i in range(e.mission.size):
        e.mission[i] = 0
    e.mission_length = 0


@compiled
def say_description(e: Record, slot: int) -> None:
    """ "the red ball", "a box on your left"."""
    say(e, _A if is_plural(e, slot) else _THE)
    if e.desc_color[slot] != ANY:
        say(e, COLOR_WORDS[e.desc_color[slot]])
    say(e, _OBJECT if e.desc_type[slot] == ANY else TYPE_WORDS[e.desc_type[slot]])
    if e.desc_place[slot] != ANY:
        say_phrase(e, _PLACES[e.desc_place[slot]])


@compiled
def say_half(e: Record, half: int) -> None:
    """One half's leaves, joined by "and"."""
    for leaf in range(2 * half, 2 * half + e.half_leaves[half]):
        if leaf % 2 == 1:
            say(e, _AND)
        say_phrase(e, _VERBS[e.leaf_kind[leaf]])
        say_description(e, 2 * leaf)
        if e.leaf_kind[leaf] == PUT_NEXT:
            say_phrase(e, _NEXT_TO[0])
            say_description(e, 2 * leaf + 1)


@compiled
def say_instruction(e: Record) -> None:
    """Write the whole instruction into the mission."""
    say_nothing(e)
    say_half(e, 0)
    if e.root == BEFORE:
        say(e, _COMMA)
        say(e, _THEN)
        say_half(e, 1)
    elif e.root == AFTER:
        say(e, _AFTER)
        say(e, _YOU)
        say_half(e, 1)


# --- the episode's start ------------------------------------------------------------------------


@compiled
def settle(e: Record) -> None:
    """Validate the drawn instruction, write the mission and initialise verification.

    A step limit of 0 becomes navigations (1 per leaf, 2 for a put-next) times all rooms' cells.
    """
    navigations = 0
    for half in range(2 if e.root > ALONE else 1):
        for leaf in range(2 * half, 2 * half + e.half_leaves[half]):
            validate(e, leaf)
            put = e.leaf_kind[leaf] == PUT_NEXT
            navigations += 2 if put else 1
            refresh_matches(e, leaf)
            e.leaf_status[leaf], e.leaf_match[leaf] = CONTINUE, 0
            e.leaf_held[leaf] = NOTHING
        e.half_status[half] = CONTINUE
    note_positions(e)
    say_instruction(e)
    if e.step_limit == 0:
        e.max_steps = navigations * e.room_size**2 * e.room_rows * e.room_columns


@compiled
def refresh_matches(e: Record, leaf: int) -> None:
    """Recompute which things match the leaf's descriptions now."""
    for slot in range(2 * leaf, 2 * leaf + (2 if e.leaf_kind[leaf] == PUT_NEXT else 1)):
        e.desc_things[slot] = matching(e, e.desc_type[slot], e.desc_color[slot], e.desc_place[slot])


@compiled
def validate(e: Record, leaf: int) -> None:
    """Reject what upstream's ``validate_instrs`` rejects.

    That is a put-next whose two descriptions share a thing or match adjacent ones, and, where
    unblocking may be needed, a mission about a key to a locked door.
    """
    slots = 1
    if e.leaf_kind[leaf] == PUT_NEXT:
        slots = 2
        refresh_matches(e, leaf)
        if e.desc_things[2 * leaf] & e.desc_things[2 * leaf + 1] != _NONE:
            reject(e)
        note_positions(e)
        for thing in range(e.things):
            if holds(e.desc_things[2 * leaf], thing) and lies_next(e, thing, 2 * leaf + 1):
                reject(e)
    if e.unblocking:
        for slot in range(2 * leaf, 2 * leaf + slots):
            if e.desc_type[slot] == KEY_TYPE and is_lock_color(e, e.desc_color[slot]):
                reject(e)


@compiled
def is_lock_color(e: Record, color: int) -> bool:
    """Whether a door of this color is locked."""
    for thing in range(e.things):
        if e.thing_at[thing] != NOTHING and color != ANY:
            cell = e.grid[e.thing_at[thing]]
            if cell == OPEN_DOOR + 12 + color:
                return True
    return False


# --- verification -------------------------------------------------------------------------------


@compiled
def note_positions(e: Record) -> None:
    """Record where everything lies; upstream does so at the start and at each drop action only."""
    for thing in range(e.things):
        e.thing_seen_at[thing] = e.thing_at[thing]


@compiled
def lies_next(e: Record, thing: int, slot: int) -> bool:
    """Whether a thing is next to where one of the description's things was last recorded."""
    at = e.thing_at[thing]
    if at == NOTHING:
        return False
    x, y = at % e.width, at // e.width
    for other in range(e.things):
        seen = e.thing_seen_at[other]
        if seen != NOTHING and holds(e.desc_things[slot], other):
            if abs(seen % e.width - x) + abs(seen // e.width - y) == 1:
                return True
    return False


@compiled
def verify(e: Record, action: int) -> None:
    """End the episode if the action fulfilled the instruction or made it fail."""
    if action == DROP:
        note_positions(e)
    if e.root == ALONE:
        status = verify_half(e, 0, action)
    elif e.root == BEFORE:
        status = verify_in_order(e, 0, 1, action)
    else:
        status = verify_in_order(e, 1, 0, action)
    if status == SUCCESS:
        success(e)
    elif status == FAILURE:
        fail(e)


@compiled
def verify_in_order(e: Record, first: int, second: int, action: int) -> int:
    """Verify one half, then the other; one action may fulfil both."""
    if e.half_status[first] != SUCCESS:
        e.half_status[first] = verify_half(e, first, action)
        if e.half_status[first] == FAILURE:
            return FAILURE
        if e.half_status[first] != SUCCESS:
            early = e.root_strict and verify_half(e, second, action) == SUCCESS
            return FAILURE if early else CONTINUE
    return verify_half(e, second, action)


@compiled
def verify_half(e: Record, half: int, action: int) -> int:
    """Verify one leaf, or two in any order; "and" ignores its leaves' failures, as upstream."""
    leaf = 2 * half
    if e.half_leaves[half] == 1:
        return verify_leaf(e, leaf, action)
    for i in (leaf, leaf + 1):
        if e.leaf_status[i] != SUCCESS:
            e.leaf_status[i] = verify_leaf(e, i, action)
    both = e.leaf_status[leaf] == SUCCESS and e.leaf_status[leaf + 1] == SUCCESS
    return SUCCESS if both else CONTINUE


@compiled
def verify_leaf(e: Record, leaf: int, action: int) -> int:
    """Verify one leaf; in done mode the done action must come right after fulfilling it."""
    if e.done_mode:
        if action == DONE:
            return SUCCESS if e.leaf_match[leaf] else FAILURE
        e.leaf_match[leaf] = verify_action(e, leaf, action) == SUCCESS
        return CONTINUE
    return verify_action(e, leaf, action)


@compiled
def verify_action(e: Record, leaf: int, action: int) -> int:
    """Whether this action did what the leaf asks for."""
    kind = e.leaf_kind[leaf]
    if kind == GO_TO:
        return verify_go_to(e, leaf)
    if kind == OPEN_IT:
        return verify_open(e, leaf, action)
    held_before = e.leaf_held[leaf]
    e.leaf_held[leaf] = e.held
    if kind == PICK_UP:
        return verify_pick_up(e, leaf, action, held_before)
    return verify_put_next(e, leaf, action, held_before)


@compiled
def verify_go_to(e: Record, leaf: int) -> int:
    """Whether the agent faces a cell where a matching thing was last recorded."""
    front = front_index(e)
    for thing in range(e.things):
        if e.thing_seen_at[thing] == front and holds(e.desc_things[2 * leaf], thing):
            return SUCCESS
    return CONTINUE


@compiled
def verify_open(e: Record, leaf: int, action: int) -> int:
    """Whether a toggle left a matching door open; strict: any other toggle of a door fails."""
    if action != TOGGLE:
        return CONTINUE
    front = front_index(e)
    cell = e.grid[front]
    if TYPE[cell] != DOOR_TYPE:
        return CONTINUE
    for thing in range(e.things):
        if e.thing_at[thing] == front and holds(e.desc_things[2 * leaf], thing):
            if cell < OPEN_DOOR + 6:
                return SUCCESS
    return FAILURE if e.leaf_strict[leaf] else CONTINUE


@compiled
def verify_pick_up(e: Record, leaf: int, action: int, held_before: int) -> int:
    """Whether the agent picked up a matching thing; strict: picking up anything else fails."""
    if action != PICKUP:
        return CONTINUE
    if held_before == NOTHING and holds(e.desc_things[2 * leaf], e.held):
        return SUCCESS
    return FAILURE if e.leaf_strict[leaf] and e.carrying != EMPTY else CONTINUE


@compiled
def verify_put_next(e: Record, leaf: int, action: int, held_before: int) -> int:
    """Whether a matching thing was dropped next to one of the others; strict: any pick-up fails."""
    if e.leaf_strict[leaf] and action == PICKUP and e.carrying != EMPTY:
        return FAILURE
    if action != DROP or not holds(e.desc_things[2 * leaf], held_before):
        return CONTINUE
    return SUCCESS if lies_next(e, held_before, 2 * leaf + 1) else CONTINUE
