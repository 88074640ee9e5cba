"""BabyAI's instructions: upstream's objects and a record's integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, IDX_TO_COLOR, IDX_TO_OBJECT, OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core import verifier
from minigrid.minigrid_env import MiniGridEnv

from ..instructions import (
    AFTER,
    ALONE,
    ANY,
    BEFORE,
    BEHIND,
    CONTINUE,
    FAILURE,
    FRONT,
    GO_TO,
    LEFT,
    OPEN_IT,
    PICK_UP,
    PUT_NEXT,
    RIGHT,
    SUCCESS,
)
from ..record import NOTHING
from .objects import WITH_IDENTITY, ForeignRulesError, Things, tracked

LEAVES = {
    verifier.GoToInstr: GO_TO,
    verifier.OpenInstr: OPEN_IT,
    verifier.PickupInstr: PICK_UP,
    verifier.PutNextInstr: PUT_NEXT,
}
ROOTS = {verifier.BeforeInstr: BEFORE, verifier.AfterInstr: AFTER}
PLACES = {None: ANY, "left": LEFT, "right": RIGHT, "front": FRONT, "behind": BEHIND}
STATUSES = {"success": SUCCESS, "failure": FAILURE, False: CONTINUE}
LEAF_OF = {number: kind for kind, number in LEAVES.items()}
ROOT_OF = {number: kind for kind, number in ROOTS.items()}
PLACE_OF = {number: word for word, number in PLACES.items()}
STATUS_OF = {number: word for word, number in STATUSES.items()}


# --- read ---------------------------------------------------------------------------------------


def read_instruction(record: np.void, instr: verifier.Instr, things: Things) -> None:
    """Read an instruction and how far it is fulfilled."""
    record["root"] = ROOTS.get(type(instr), ALONE)
    record["root_strict"] = getattr(instr, "strict", False) and type(instr) in ROOTS
    record["done_mode"] = bool(verifier.use_done_actions)
    for half, part in enumerate(halves_of(instr)):
        leaves = leaves_of(part)
        record["half_leaves"][half] = len(leaves)
        record["half_status"][half] = status_of(instr, half) if type(instr) in ROOTS else CONTINUE
        for n, leaf in enumerate(leaves):
            number = 2 * half + n
            read_leaf(record, number, leaf, things)
            record["leaf_status"][number] = status_of(part, n) if len(leaves) == 2 else CONTINUE
    read_positions(record, instr, things)


def leaves_of(instr: verifier.Instr) -> list[verifier.ActionInstr]:
    """The one or two leaves of a half.

    Raises:
        ForeignRulesError: an instruction of a type other than upstream's.
    """
    leaves = [instr.instr_a, instr.instr_b] if type(instr) is verifier.AndInstr else [instr]
    for leaf in leaves:
        if type(leaf) not in LEAVES:
            raise ForeignRulesError(
                f"instructions of type {type(leaf).__name__} are not upstream's"
            )
    return leaves


def halves_of(instr: verifier.Instr) -> list[verifier.Instr]:
    """The one or two halves of an instruction."""
    return [instr.instr_a, instr.instr_b] if type(instr) in ROOTS else [instr]


def descriptions_of(leaf: verifier.ActionInstr) -> list[verifier.ObjDesc]:
    """The one or two descriptions of a leaf."""
    if isinstance(leaf, verifier.PutNextInstr):
        return [leaf.desc_move, leaf.desc_fixed]
    return [leaf.desc]


def tracked_objects(instr: verifier.Instr) -> Iterator[WorldObj]:
    """Every object with an identity that an instruction refers to."""
    for half in halves_of(instr):
        for leaf in leaves_of(half):
            for desc in descriptions_of(leaf):
                yield from (obj for obj in desc.obj_set if isinstance(obj, WITH_IDENTITY))
            held = getattr(leaf, "preCarrying", None)
            if held is not None:
                yield held


def status_of(instr: verifier.SeqInstr, part: int) -> int:
    """The status of a joined instruction's first or second part."""
    return STATUSES.get((instr.a_done, instr.b_done)[part], CONTINUE)


def read_leaf(record: np.void, number: int, leaf: verifier.ActionInstr, things: Things) -> None:
    """Read a leaf, how far it is fulfilled, and its one or two descriptions."""
    record["leaf_kind"][number] = LEAVES[type(leaf)]
    record["leaf_strict"][number] = getattr(leaf, "strict", False)
    record["leaf_match"][number] = leaf.lastStepMatch
    record["leaf_held"][number] = things.number(getattr(leaf, "preCarrying", None))
    for n, desc in enumerate(descriptions_of(leaf)):
        slot = 2 * number + n
        record["desc_type"][slot] = ANY if desc.type is None else OBJECT_TO_IDX[desc.type]
        record["desc_color"][slot] = ANY if desc.color is None else COLOR_TO_IDX[desc.color]
        record["desc_place"][slot] = PLACES[desc.loc]
        record["desc_things"][slot] = things.mask(desc.obj_set)


def read_positions(record: np.void, instr: verifier.Instr, things: Things) -> None:
    """Find where things that left the grid were when upstream last recorded positions.

    Upstream keeps the positions of each description's objects, but not which object each is of. A
    thing still in place accounts for its own; each other position is of a thing that has left
    since and that the same descriptions track.
    """
    about: dict[int, set[int]] = {}  # by position, the descriptions that include it
    member: dict[int, set[int]] = {n: set() for n in range(len(things.objects))}
    descs = [
        d for half in halves_of(instr) for leaf in leaves_of(half) for d in descriptions_of(leaf)
    ]
    for n, desc in enumerate(descs):
        for x, y in desc.obj_poss:
            about.setdefault(int(y) * int(record["width"]) + int(x), set()).add(n)
        for obj in filter(things.knows, desc.obj_set):
            member[things.number(obj)].add(n)
    gone = [n for n in member if member[n] and record["thing_at"][n] == NOTHING]
    still = {int(record["thing_at"][n]) for n in member if member[n]}
    for at, known_to in about.items():
        if at not in still:
            thing = next((n for n in gone if member[n] == known_to), None)
            if thing is not None:
                gone.remove(thing)
                record["thing_seen_at"][thing] = at


def read_single(record: np.void, kind: int, obj: WorldObj, things: Things) -> None:
    """Read an instruction of one leaf about one object."""
    record["root"], record["root_strict"], record["done_mode"] = ALONE, 0, 0
    record["half_leaves"][0], record["half_status"][0] = 1, CONTINUE
    record["leaf_kind"][0], record["leaf_strict"][0] = kind, 0
    record["leaf_status"][0], record["leaf_match"][0] = CONTINUE, 0
    record["desc_type"][0], record["desc_color"][0] = OBJECT_TO_IDX[obj.type], ANY
    record["desc_place"][0], record["desc_things"][0] = ANY, things.mask([obj])


# --- write --------------------------------------------------------------------------------------


def make_instruction(
    env: MiniGridEnv, record: np.void, things: Sequence[WorldObj]
) -> verifier.Instr:
    """A record's instruction, fulfilled as far."""
    root = int(record["root"])
    if root == ALONE:
        return make_half(env, record, 0, things)
    halves = [make_half(env, record, half, things) for half in range(2)]
    whole = ROOT_OF[root](*halves, strict=bool(record["root_strict"]))
    whole.env = env
    whole.a_done, whole.b_done = (STATUS_OF[int(status)] for status in record["half_status"])
    return whole


def make_half(
    env: MiniGridEnv, record: np.void, half: int, things: Sequence[WorldObj]
) -> verifier.Instr:
    """One leaf, or two joined by "and"."""
    leaves = [
        make_leaf(env, record, 2 * half + n, things) for n in range(record["half_leaves"][half])
    ]
    if len(leaves) == 1:
        return leaves[0]
    both = verifier.AndInstr(*leaves)
    both.env = env
    statuses = record["leaf_status"][2 * half : 2 * half + 2]
    both.a_done, both.b_done = (STATUS_OF[int(status)] for status in statuses)
    return both


def make_leaf(
    env: MiniGridEnv, record: np.void, number: int, things: Sequence[WorldObj]
) -> verifier.ActionInstr:
    """One leaf, with the objects that it tracks."""
    kind = LEAF_OF[int(record["leaf_kind"][number])]
    slots = range(2 * number, 2 * number + (2 if kind is verifier.PutNextInstr else 1))
    leaf = kind(*(make_description(env.grid, record, slot, things) for slot in slots))
    leaf.env = env
    leaf.strict = bool(record["leaf_strict"][number])
    leaf.lastStepMatch = bool(record["leaf_match"][number])
    held = int(record["leaf_held"][number])
    leaf.preCarrying = None if held == NOTHING else things[held]
    return leaf


def make_description(
    grid: Grid, record: np.void, slot: int, things: Sequence[WorldObj]
) -> verifier.ObjDesc:
    """One description: the objects that it tracks, and where upstream last recorded them."""
    kind, color = int(record["desc_type"][slot]), int(record["desc_color"][slot])
    place = int(record["desc_place"][slot])
    desc = verifier.ObjDesc(
        None if kind == ANY else IDX_TO_OBJECT[kind],
        None if color == ANY else IDX_TO_COLOR[color],
        PLACE_OF[place],
    )
    desc.obj_set = tracked(record, slot, things)
    seen = [int(record["thing_seen_at"][things.index(obj)]) for obj in desc.obj_set]
    desc.obj_poss = [(at % grid.width, at // grid.width) for at in seen if at != NOTHING]
    return desc
