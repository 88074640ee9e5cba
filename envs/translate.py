"""Upstream's environments read into our records, at any moment of an episode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker
from minigrid.core.actions import Actions
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.roomgrid import RoomGrid
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall, WorldObj
from minigrid.envs import (
    BlockedUnlockPickupEnv,
    DynamicObstaclesEnv,
    FetchEnv,
    GoToDoorEnv,
    GoToObjectEnv,
    KeyCorridorEnv,
    MemoryEnv,
    ObstructedMazeEnv,
    PutNearEnv,
    RedBlueDoorEnv,
    UnlockEnv,
    UnlockPickupEnv,
)
from minigrid.envs.babyai.core import verifier
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv

from .cells import CELL_OF, EMPTY
from .instructions import (
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
from .record import MAX_THINGS, MAX_WORDS, NOTHING
from .rng import split128
from .step import FETCH, IN_ORDER, MEMORY, OBSTACLES, PUT_NEAR, SAY_DONE, STANDARD
from .vocabulary import encode

HARMLESS_WRAPPERS = (OrderEnforcing, PassiveEnvChecker)
OBJECTS = (Wall, Floor, Door, Key, Ball, Box, Goal, Lava)
WITH_IDENTITY = (Door, Key, Ball, Box)
LEAVES = {
    verifier.GoToInstr: GO_TO,
    verifier.OpenInstr: OPEN_IT,
    verifier.PickupInstr: PICK_UP,
    verifier.PutNextInstr: PUT_NEXT,
}
ROOTS = {verifier.BeforeInstr: BEFORE, verifier.AfterInstr: AFTER}
PLACES = {None: ANY, "left": LEFT, "right": RIGHT, "front": FRONT, "behind": BEHIND}
STATUSES = {"success": SUCCESS, "failure": FAILURE}

# What an environment must leave as upstream has it, for upstream's rules to hold in it.
DYNAMICS = ("_reward", "dir_vec", "front_pos", "gen_obs", "gen_obs_grid", "get_view_exts")


class ForeignRulesError(ValueError):
    """An environment has rules, objects or a state that the engine does not know."""


def unwrap(env: gymnasium.Env[Any, Any]) -> MiniGridEnv:
    """The upstream environment inside wrappers that change nothing.

    Raises:
        ForeignRulesError: it is no ``MiniGridEnv``, or a part of its behaviour is its own.
    """
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, HARMLESS_WRAPPERS):
            raise ForeignRulesError(f"{type(env).__name__} changes what the environment does")
        env = env.env
    if not isinstance(env, MiniGridEnv):
        raise ForeignRulesError(f"{type(env).__name__} is not a MiniGridEnv")
    if not is_upstreams(env, "step", *JUDGES):
        raise ForeignRulesError(f"{type(env).__name__} has a step() of its own")
    owned = [part for part in DYNAMICS if not is_upstreams(env, part, getattr(MiniGridEnv, part))]
    if isinstance(env, RoomGridLevel):
        part = "update_objs_poss"
        owned += [] if is_upstreams(env, part, getattr(RoomGridLevel, part)) else [part]
    if owned:
        raise ForeignRulesError(f"{type(env).__name__} has a {owned[0]} of its own")
    if type(env.grid) is not Grid or env.actions is not Actions:
        raise ForeignRulesError(f"{type(env).__name__} has a grid or actions of its own")
    return env


def is_upstreams(env: MiniGridEnv, part: str, *known: Any) -> bool:
    """Whether an attribute of the environment's class is one of those known, and not shadowed."""
    return part not in vars(env) and getattr(type(env), part) in known


def write_record(record: Any, env: MiniGridEnv) -> None:
    """Read an upstream environment, reset before, into a record; its mission is left out.

    Raises:
        ForeignRulesError: it holds what a record cannot.
    """
    if env.agent_pos is None:
        raise ForeignRulesError(f"{type(env).__name__} was not reset")
    made, drawn = (env.width, env.height), (env.grid.width, env.grid.height)
    if drawn != made:
        raise ForeignRulesError(f"{type(env).__name__} is made for {made} cells, drew {drawn}")
    things = Things(env)
    record["width"], record["height"] = env.grid.width, env.grid.height
    record["full_width"], record["full_height"] = env.grid.width, env.grid.height
    record["x"], record["y"] = env.agent_pos
    record["direction"], record["steps"] = env.agent_dir, env.step_count
    record["max_steps"], record["see_through"] = env.max_steps, env.see_through_walls
    record["take_at_start"] = NOTHING
    record["carrying"], record["held"] = cell_of(env.carrying), things.number(env.carrying)
    record["grid"][: len(env.grid.grid)] = [cell_of(obj) for obj in env.grid.grid]
    things.write(record)
    if isinstance(env, RoomGrid):
        record["room_size"] = env.room_size
        record["room_rows"], record["room_columns"] = env.num_rows, env.num_cols
    record["root"] = 0
    record["rule"], write_goal = JUDGES[type(env).step]
    write_goal(record, env, things)
    write_stream(record, env.np_random)


def write_mission(record: Any, mission: str) -> None:
    """Write a mission's tokens into a record.

    Raises:
        ForeignRulesError: it is too long.
    """
    words = encode(mission)
    if len(words) > MAX_WORDS:
        raise ForeignRulesError(f"a mission has at most {MAX_WORDS} words, got {len(words)}")
    record["mission"] = words + [0] * (MAX_WORDS - len(words))
    record["mission_length"] = len(words)


def write_stream(record: Any, generator: np.random.Generator) -> None:
    """Write where a random stream stands.

    Raises:
        ForeignRulesError: it is not a PCG64, the one that Gymnasium seeds.
    """
    state: Any = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise ForeignRulesError(f"random streams are PCG64, got {state['bit_generator']}")
    record["rng_high"], record["rng_low"] = split128(state["state"]["state"])
    record["increment_high"], record["increment_low"] = split128(state["state"]["inc"])
    record["has_half_word"], record["half_word"] = state["has_uint32"], state["uinteger"]


def make_stream(record: Any) -> np.random.Generator:
    """A NumPy generator that stands where the record's stream does."""
    generator = np.random.Generator(np.random.PCG64())
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {
            "state": int(record["rng_high"]) << 64 | int(record["rng_low"]),
            "inc": int(record["increment_high"]) << 64 | int(record["increment_low"]),
        },
        "has_uint32": int(record["has_half_word"]),
        "uinteger": int(record["half_word"]),
    }
    return generator


def cell_of(obj: WorldObj | None) -> int:
    """The cell that shows an object.

    Raises:
        ForeignRulesError: the object's type is not upstream's.
    """
    if obj is None:
        return EMPTY
    if type(obj) not in OBJECTS:
        raise ForeignRulesError(f"objects of type {type(obj).__name__} are not upstream's")
    if isinstance(obj, Door) and obj.is_open and obj.is_locked:
        raise ForeignRulesError("a door cannot be open and locked")
    encoding = obj.encode()
    if encoding not in CELL_OF:
        raise ForeignRulesError(f"no cell shows a {obj.color} {obj.type}")
    return CELL_OF[encoding]


class Things:
    """The objects that need an identity, numbered as in the record.

    Without an instruction only boxes with contents and what they hold do; where more than a record
    can number lie about, those are all.
    """

    def __init__(self, env: MiniGridEnv) -> None:
        self._places = lying_objects(env.grid)
        first = list(env.obstacles) if isinstance(env, DynamicObstaclesEnv) else []
        lying = [obj for obj in self._places if isinstance(obj, WITH_IDENTITY)]
        carried = [env.carrying] if env.carrying else []
        tracked = list(tracked_objects(env.instrs)) if isinstance(env, RoomGridLevel) else []
        self.objects = distinct(contents_included([*first, *lying, *carried, *tracked]))
        if len(self.objects) > MAX_THINGS and not tracked:
            holders = [obj for obj in [*lying, *carried] if obj.contains]
            self.objects = distinct(contents_included(holders))
        if len(self.objects) > MAX_THINGS:
            raise ForeignRulesError(
                f"at most {MAX_THINGS} objects can be told apart, got {len(self.objects)}"
            )
        self._numbers = {id(obj): number for number, obj in enumerate(self.objects)}

    def number(self, obj: WorldObj | None) -> int:
        """The object's number, NOTHING if it has none."""
        return self._numbers.get(id(obj), NOTHING)

    def knows(self, obj: WorldObj) -> bool:
        """Whether the object has a number."""
        return id(obj) in self._numbers

    def mask(self, objects: Iterable[WorldObj]) -> np.uint64:
        """A set of objects, one bit each; walls, which "a grey object" may be, have none."""
        numbers = [self.number(obj) for obj in objects]
        return np.uint64(sum(1 << number for number in numbers if number != NOTHING))

    def write(self, record: Any) -> None:
        """Write every thing's looks, place and contents."""
        record["things"] = len(self.objects)
        for number, obj in enumerate(self.objects):
            record["thing_cell"][number] = cell_of(obj)
            record["thing_inside"][number] = self.number(obj.contains)
            record["thing_at"][number] = self._places.get(obj, NOTHING)
            record["thing_seen_at"][number] = record["thing_at"][number]
            record["thing_listed"][number] = 0


def lying_objects(grid: Grid) -> dict[WorldObj, int]:
    """Where each object with an identity lies (objects compare by identity).

    Raises:
        ForeignRulesError: one lies in two places.
    """
    places: dict[WorldObj, int] = {}
    for at, obj in enumerate(grid.grid):
        if isinstance(obj, WITH_IDENTITY):
            if obj in places:
                raise ForeignRulesError(f"one {obj.color} {obj.type} lies in two places")
            places[obj] = at
    return places


def contents_included(objects: Iterable[WorldObj]) -> Iterator[WorldObj]:
    """The objects, each followed by what it holds."""
    for obj in objects:
        inner: WorldObj | None = obj
        while inner is not None:
            yield inner
            inner = inner.contains


def distinct(objects: Iterable[WorldObj]) -> list[WorldObj]:
    """Each object once."""
    return list({id(obj): obj for obj in objects}.values())


def leaves_of(instr: verifier.Instr) -> list[verifier.ActionInstr]:
    """The one or two leaves of a half.

    Raises:
        ForeignRulesError: an instruction of another type.
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
    """Every object that an instruction knows of and that can be told apart."""
    for half in halves_of(instr):
        for leaf in leaves_of(half):
            for desc in descriptions_of(leaf):
                yield from (obj for obj in desc.obj_set if isinstance(obj, WITH_IDENTITY))
            held = getattr(leaf, "preCarrying", None)
            if held is not None:
                yield held


def write_instruction(record: Any, instr: verifier.Instr, things: Things) -> None:
    """Write an instruction and how far it is fulfilled."""
    record["root"] = ROOTS.get(type(instr), ALONE)
    record["root_strict"] = getattr(instr, "strict", False) and type(instr) in ROOTS
    record["done_mode"] = bool(verifier.use_done_actions)
    for half, part in enumerate(halves_of(instr)):
        leaves = leaves_of(part)
        record["half_leaves"][half] = len(leaves)
        record["half_status"][half] = status_of(instr, half) if type(instr) in ROOTS else CONTINUE
        for n, leaf in enumerate(leaves):
            number = 2 * half + n
            write_leaf(record, number, leaf, things)
            record["leaf_status"][number] = status_of(part, n) if len(leaves) == 2 else CONTINUE
    restore_sights(record, instr, things)


def status_of(instr: verifier.SeqInstr, part: int) -> int:
    """How a joined instruction's first or second part fares."""
    return STATUSES.get((instr.a_done, instr.b_done)[part], CONTINUE)


def write_leaf(record: Any, number: int, leaf: verifier.ActionInstr, things: Things) -> None:
    """Write a leaf and its descriptions."""
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


def restore_sights(record: Any, instr: verifier.Instr, things: Things) -> None:
    """Note where things that left the grid were when upstream last looked.

    Upstream keeps the positions that each description's objects had then, but not whose each is. A
    thing still in its place explains its own; the others belong to things that left meanwhile, each
    to one that the same descriptions are about.
    """
    about: dict[int, set[int]] = {}  # by position, the descriptions that know it
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


# --- what an environment asks for ---------------------------------------------------------------


def write_nothing(record: Any, env: MiniGridEnv, things: Things) -> None:
    """The goal and lava are all there is."""


def write_level_instruction(record: Any, env: RoomGridLevel, things: Things) -> None:
    """BabyAI's instruction."""
    write_instruction(record, env.instrs, things)


def write_ends(record: Any, env: MemoryEnv, things: Things) -> None:
    """The hallway's right and wrong end."""
    record["target"], record["decoy"] = at(env, env.success_pos), at(env, env.failure_pos)


def write_target_place(record: Any, env: GoToDoorEnv | GoToObjectEnv, things: Things) -> None:
    """Where to say that one is done."""
    record["target"] = at(env, env.target_pos)


def write_wanted(record: Any, env: FetchEnv, things: Things) -> None:
    """What to fetch, by its looks."""
    record["target"] = CELL_OF[OBJECT_TO_IDX[env.targetType], COLOR_TO_IDX[env.targetColor], 0]


def write_mover(record: Any, env: PutNearEnv, things: Things) -> None:
    """What to put near which place."""
    looks = env.move_type, env.moveColor
    record["target"] = next(n for n, o in enumerate(things.objects) if (o.type, o.color) == looks)
    record["decoy"] = at(env, env.target_pos)


def write_doors(record: Any, env: RedBlueDoorEnv, things: Things) -> None:
    """The door to open first, and the other."""
    record["target"] = env.grid.grid.index(env.red_door)
    record["decoy"] = env.grid.grid.index(env.blue_door)


def write_door(record: Any, env: UnlockEnv, things: Things) -> None:
    """The one door, as an instruction."""
    write_single(record, OPEN_IT, env.door, things)


def write_prize(record: Any, env: KeyCorridorEnv, things: Things) -> None:
    """The object to pick up, as an instruction."""
    write_single(record, PICK_UP, env.obj, things)
    record["leaf_held"][0] = things.number(env.carrying)


def write_single(record: Any, kind: int, obj: WorldObj, things: Things) -> None:
    """An instruction of one leaf about one object."""
    record["root"], record["root_strict"], record["done_mode"] = ALONE, 0, 0
    record["half_leaves"][0], record["half_status"][0] = 1, CONTINUE
    record["leaf_kind"][0], record["leaf_strict"][0] = kind, 0
    record["leaf_status"][0], record["leaf_match"][0] = CONTINUE, 0
    record["desc_type"][0], record["desc_color"][0] = OBJECT_TO_IDX[obj.type], ANY
    record["desc_place"][0], record["desc_things"][0] = ANY, things.mask([obj])


def at(env: MiniGridEnv, place: Any) -> int:
    """The index of the cell at (x, y)."""
    return int(place[1]) * int(env.grid.width) + int(place[0])


# Whose ``step`` the engine knows: which of its rules that is, and how the goal is read.
JUDGES: dict[Callable[..., Any], tuple[int, Callable[..., None]]] = {
    MiniGridEnv.step: (STANDARD, write_nothing),
    RoomGridLevel.step: (STANDARD, write_level_instruction),
    UnlockEnv.step: (STANDARD, write_door),
    UnlockPickupEnv.step: (STANDARD, write_prize),
    BlockedUnlockPickupEnv.step: (STANDARD, write_prize),
    KeyCorridorEnv.step: (STANDARD, write_prize),
    ObstructedMazeEnv.step: (STANDARD, write_prize),
    DynamicObstaclesEnv.step: (OBSTACLES, write_nothing),
    MemoryEnv.step: (MEMORY, write_ends),
    GoToDoorEnv.step: (SAY_DONE, write_target_place),
    GoToObjectEnv.step: (SAY_DONE, write_target_place),
    FetchEnv.step: (FETCH, write_wanted),
    PutNearEnv.step: (PUT_NEAR, write_mover),
    RedBlueDoorEnv.step: (IN_ORDER, write_doors),
}
