"""The experiments of Madan et al. 2021, and their transfer from easy to hard levels in six more
families: `run.py reproduce NAME`.
"""

from __future__ import annotations

from metarims.config import TOGETHER
from metarims.settings import Leaf
from metarims.studies.experiments import Arm, Experiment, Scale


def _three(*settings: dict[str, Leaf]) -> tuple[Arm, ...]:
    """The three agents that are compared, with each of the settings."""
    return tuple(Arm(preset, own) for own in settings for preset in ("lstm", "rims", "metarims"))


def _at_rate(rate: float) -> dict[str, Leaf]:
    """A learning rate for both loops."""
    return dict.fromkeys(("fast.learning_rate", "slow.learning_rate"), rate)


THREE = _three({})
PULLED = Arm("metarims", {"fast.value_loss": True})  # the value loss also trains the features
LOOPS = (  # how two loops differ from joint training, one difference at a time
    *map(Arm, ("metalstm", "slowlr", "slow1", "dense")),
    PULLED,
    Arm("rims", {"fast.span": 20}),
)
PARTS = (  # what the state may be: as large as the modules', never idle, or chosen otherwise
    Arm("lstm"),
    Arm("lstm", {"core.hidden": 160}),
    Arm("rims"),
    Arm("rims", {"core.active": 5}),
    Arm("rims", {"core.choice": "random"}),
    Arm("rims", {"core.choice": "fixed"}),
    Arm("metarims"),
)
NO_BARRIER: dict[str, Leaf] = {"ppo.log_barrier": 0.0}
SPARSE: dict[str, Leaf] = {"core.attention": "sparse"}
AS_WRITTEN = (  # the paper's choices where our defaults differ: one at a time, then all
    *THREE,
    Arm("metarims", {"slow.data": "fresh"}),
    Arm("metarims", {"slow.attention_rate": 1.0}),
    PULLED,
    Arm("metarims", SPARSE),
    Arm("metarims", NO_BARRIER),
    Arm("paper"),
    Arm("rims", SPARSE | NO_BARRIER),
    Arm("lstm", NO_BARRIER),
)
HALF, TWICE = _at_rate(0.65e-3), _at_rate(2.6e-3)
LESS_ENTROPY: dict[str, Leaf] = {"ppo.entropy": 0.005}
MORE_ENTROPY: dict[str, Leaf] = {"ppo.entropy": 0.045}
# The rate halved and doubled, the entropy bonus a third and three times, for all agents alike.
TUNED = _three(HALF, TWICE, LESS_ENTROPY, MORE_ENTROPY)
# The best of these for each agent, in rooms and in corridors.
ROOMS_CHOSEN = (Arm("lstm", TWICE), Arm("rims", LESS_ENTROPY), Arm("metarims", MORE_ENTROPY))
CORRIDOR_CHOSEN = (Arm("lstm", LESS_ENTROPY), Arm("rims", MORE_ENTROPY), Arm("metarims", HALF))
NOVELTY: dict[str, Leaf] = {"ppo.novelty": 0.02}
CURIOUS = _three(NOVELTY)
CURIOUS_TUNED = _three(
    NOVELTY | HALF, NOVELTY | TWICE, {"ppo.novelty": 0.01}, {"ppo.novelty": 0.04}
)
DOORKEYS = tuple(f"MiniGrid-DoorKey-{size}-v0" for size in ("5x5", "6x6", "8x8", "16x16"))
LEARNT = 0.98  # success rate over the last 200 episodes at which a level counts as learnt

ABLATED = (DOORKEYS[1], "BabyAI-GoToRedBallGrey-v0")
MEMORY = "MiniGrid-MemoryS7-v0"  # the paper's MemoryS13Random takes many times as many frames
LONGER = tuple(f"MiniGrid-Memory{size}-v0" for size in ("S9", "S11", "S13"))

LAVA = tuple(f"MiniGrid-LavaCrossing{size}-v0" for size in ("S9N1", "S9N2", "S9N3", "S11N5"))
CORRIDORS = tuple(f"MiniGrid-KeyCorridor{size}-v0" for size in ("S3R1", "S3R2", "S3R3", "S4R3"))
ROOMS = tuple(f"MiniGrid-MultiRoom-{size}-v0" for size in ("N2-S4", "N4-S5", "N6"))
FETCHES = tuple(f"MiniGrid-Fetch-{size}-v0" for size in ("5x5-N2", "6x6-N2", "8x8-N3"))
BALLS = tuple(f"BabyAI-GoTo{thing}-v0" for thing in ("RedBallGrey", "RedBall", "Obj", "Local"))
UNLOCK = "MiniGrid-Unlock-v0"
UNLIKE = (DOORKEYS[0], ROOMS[0], BALLS[0], FETCHES[0])

FULL = Scale(3_000_000, 10)
SCALES = {"small": Scale(300_000, 3), "full": FULL}
ABLATIONS = {"small": Scale(300_000, 5), "full": FULL}
WATCHED = {"small": Scale(1_000_000, 3), "full": FULL}
TRANSFERS = {"small": Scale(1_000_000, 10), "full": Scale(3_000_000, 30)}


def _transfer(
    family: str, source: str, *harder: str, arms: tuple[Arm, ...] = (*THREE, PULLED)
) -> Experiment:
    """Train on a level, then evaluate zero-shot on it and on harder ones of its family."""
    return Experiment(
        f"zero-shot transfer {family}",
        arms,
        (source,),
        TRANSFERS,
        targets=(source, *harder),
        until=LEARNT,
    )


def _along(
    family: str, frames: int, source: str, *harder: str, arms: tuple[Arm, ...] = THREE
) -> Experiment:
    """Train on a level for all frames, evaluating harder ones of its family meanwhile."""
    return Experiment(
        f"zero-shot transfer {family}, during training",
        arms,
        (source,),
        {"small": Scale(frames, 10, 200), "full": Scale(3_000_000, 30)},
        unseen=harder,
    )


def _onto(
    family: str,
    frames: int,
    source: str,
    *harder: str,
    arms: tuple[Arm, ...] = THREE,
    scratch: bool = True,
) -> Experiment:
    """Learn a level, then harder ones of its family in turn; also these from `scratch`."""
    return Experiment(
        f"{family}, learnt after the easier level",
        arms,
        (source,),
        {"small": Scale(frames, 10), "full": Scale(3_000_000, 30)},
        onto=harder,
        scratch=scratch,
        until=LEARNT,
    )


def _in_turn(about: str, *levels: str, arms: tuple[Arm, ...] = THREE) -> Experiment:
    """Learn unlike levels one after another; each run is evaluated on all of them."""
    return Experiment(
        about,
        arms,
        levels[:1],
        {"small": Scale(500_000, 10), "full": Scale(3_000_000, 30)},
        onto=levels[1:],
        scratch=False,
        targets=UNLIKE,
        until=LEARNT,
    )


def _composed(about: str, *sources: str, arms: tuple[Arm, ...]) -> Experiment:
    """Learn to unlock a door, to walk through rooms, or both; then do one after the other."""
    targets = (UNLOCK, ROOMS[0], *DOORKEYS)
    return Experiment(about, arms, sources, TRANSFERS, targets=targets, until=LEARNT)


EXPERIMENTS = {
    "table1": Experiment(
        "zero-shot transfer to larger rooms",
        (*THREE, PULLED),
        DOORKEYS[:2],
        TRANSFERS,
        targets=DOORKEYS,
        until=LEARNT,
        paper=(
            "| trained on the easiest DoorKey | difficult, R and S | more difficult, R and S |\n"
            "|---|---|---|\n"
            "| LSTM | .95 / 1.0 | .18 / .19 |\n"
            "| RIMs | .85 / .89 | .01 / .02 |\n"
            "| Meta-RIMs | .97 / 1.0 | .45 / .47 |\n"
        ),
    ),
    "as-written": _transfer(
        "to larger rooms, by each choice of the paper that our defaults differ from",
        *DOORKEYS,
        arms=AS_WRITTEN,
    ),
    "composed": _composed(
        "zero-shot transfer to rooms behind a locked door, from unlocking and from walking through"
        " rooms, learnt together",
        f"{UNLOCK}{TOGETHER}{ROOMS[0]}",
        arms=(*THREE, PULLED, Arm("metarims", {"fast.per_task": True}), Arm("paper")),
    ),
    "composed-parts": _composed(
        "the same from each of the two alone", UNLOCK, ROOMS[0], arms=THREE
    ),
    "views": _transfer(
        "to larger rooms by agents that see less: they have to search the small ones, too",
        *DOORKEYS[1:],
        arms=_three({"view": 3}, {"view": 5}),
    ),
    "views-parts": _transfer(
        "to larger rooms by agents that see 3 x 3 cells, by what the state is",
        *DOORKEYS[1:],
        arms=tuple(Arm(arm.preset, {**arm.settings, "view": 3}) for arm in PARTS),
    ),
    "along": _along("to larger rooms", 400_000, *DOORKEYS),
    "along-lava": _along("to more streams of lava", 600_000, *LAVA),
    "along-rooms": _along("to more rooms in a row", 400_000, *ROOMS),
    "along-rooms-loops": _along(
        "to more rooms in a row, by each difference between two loops and joint training",
        200_000,
        *ROOMS,
        arms=(*THREE, *LOOPS),
    ),
    "along-rooms-tuned": _along(
        "to more rooms in a row, by rate and entropy bonus", 200_000, *ROOMS, arms=TUNED
    ),
    "along-rooms-chosen": _along(
        "to more rooms in a row, by each agent's best rate or entropy bonus",
        200_000,
        *ROOMS,
        arms=ROOMS_CHOSEN,
    ),
    "along-rooms-as-written": _along(
        "to more rooms in a row, by each choice of the paper that our defaults differ from",
        200_000,
        *ROOMS,
        arms=AS_WRITTEN,
    ),
    "onto-rooms": _onto("four rooms after two", 300_000, *ROOMS[:2], arms=CURIOUS),
    "onto-rooms-tuned": _onto(
        "four rooms after two, by rate and novelty bonus",
        300_000,
        *ROOMS[:2],
        arms=CURIOUS_TUNED,
        scratch=False,
    ),
    "onto-doorkey": _onto(
        "DoorKey-8x8 after 5x5", 600_000, DOORKEYS[0], DOORKEYS[2], scratch=False
    ),
    "onto-corridor": _onto(
        "a corridor's second and third rows of rooms", 600_000, *CORRIDORS[:3], scratch=False
    ),
    "onto-corridor-loops": _onto(
        "a corridor's second row of rooms, by each difference between two loops and joint training",
        600_000,
        *CORRIDORS[:2],
        arms=(*THREE, *LOOPS),
        scratch=False,
    ),
    "onto-corridor-tuned": _onto(
        "a corridor's second row of rooms, by rate and entropy bonus",
        600_000,
        *CORRIDORS[:2],
        arms=TUNED,
        scratch=False,
    ),
    "onto-corridor-chosen": _onto(
        "a corridor's second row of rooms, by each agent's best rate or entropy bonus",
        600_000,
        *CORRIDORS[:2],
        arms=CORRIDOR_CHOSEN,
        scratch=False,
    ),
    "forgetting": _in_turn(
        "unlike levels learnt one after another, and the first one again: what each takes, and what"
        " is left of those before",
        *UNLIKE,
        UNLIKE[0],
    ),
    "forgetting-control": _in_turn(
        "the same levels without the first one before: what having known it is worth at the end",
        *UNLIKE[1:],
        UNLIKE[0],
    ),
    "forgetting-loops": _in_turn(
        "what is left of earlier levels, by each difference between two loops and joint training",
        *UNLIKE,
        UNLIKE[0],
        arms=(*THREE, *LOOPS),
    ),
    "along-fetch": _along("to larger rooms with more things", 400_000, *FETCHES),
    "along-ball": _along("to other things and more of them", 400_000, *BALLS),
    "fig3": Experiment(
        "sample efficiency on MiniGrid",
        THREE,
        (
            "MiniGrid-DoorKey-8x8-v0",
            "MiniGrid-Dynamic-Obstacles-6x6-v0",
            "MiniGrid-PutNear-6x6-N2-v0",
            "MiniGrid-Fetch-5x5-N2-v0",
            "MetaRIMs-FourRoomsS13-v0",
            "MiniGrid-LavaCrossingS9N1-v0",
            "MiniGrid-MultiRoom-N2-S4-v0",
            "MiniGrid-MemoryS7-v0",
        ),
        SCALES,
        until=LEARNT,
    ),
    "fig4": Experiment(
        "sample efficiency on BabyAI",
        THREE,
        (
            "BabyAI-GoToLocal-v0",
            "BabyAI-PickupDist-v0",
            "BabyAI-GoToObj-v0",
            "BabyAI-GoToRedBall-v0",
            "BabyAI-GoToRedBallGrey-v0",
            "BabyAI-PickupLoc-v0",
        ),
        SCALES,
        until=LEARNT,
    ),
    "fig5a": Experiment(
        "an easier level first: GoToLocal after GoToRedBall, and from scratch",
        THREE,
        ("BabyAI-GoToRedBall-v0",),
        {"small": Scale(400_000, 5), "full": FULL},
        onto=("BabyAI-GoToLocal-v0",),
        until=LEARNT,
    ),
    "fig5b": Experiment(
        "fast and slow learning of an LSTM",
        (Arm("metalstm"), Arm("lstm"), Arm("metarims")),
        ABLATED,
        SCALES,
        until=LEARNT,
    ),
    "fig6": Experiment(
        "how many modules are active, and how slow the slow loop is",
        (
            Arm("metarims"),
            *(Arm("metarims", {"core.active": active}) for active in (1, 2, 4)),
            Arm("dense"),
            Arm("slow1"),
            Arm("slow2"),
            Arm("slow8"),
        ),
        ABLATED,
        ABLATIONS,
        until=LEARNT,
    ),
    "fig7": Experiment(
        "the value along episodes",
        THREE,
        (MEMORY,),
        WATCHED,
        until=LEARNT,
        watched=True,
    ),
    "fig8": Experiment(
        "loops swapped, and attention slow by its learning rate alone",
        (Arm("metarims"), Arm("metaflip"), Arm("slowlr"), Arm("rims")),
        ABLATED,
        ABLATIONS,
        until=LEARNT,
    ),
    "fig9": Experiment(
        "active modules switched off",
        (Arm("metarims"), Arm("rims")),
        (DOORKEYS[1],),
        ABLATIONS,
        targets=(DOORKEYS[1],),
        knock_out=(1, 2),
        until=LEARNT,
        paper=(
            "| active modules | 3 | 2 | 1 |\n"
            "|---|---|---|---|\n"
            "| frames for 20 episodes, level not stated | 192 | 243 | 2179 |\n"
        ),
    ),
    "fig11": Experiment(
        "which modules are active near the goal",
        (Arm("metarims"), Arm("rims")),
        (MEMORY,),
        WATCHED,
        until=LEARNT,
        watched=True,
    ),
    "memory": _transfer(
        "to longer corridors",
        MEMORY,
        *LONGER,
    ),
    "parts": _transfer(
        "to longer corridors, by what the state is: its size, the choice of modules, idle modules",
        MEMORY,
        *LONGER,
        arms=PARTS,
    ),
    "lava": _transfer(
        "to more streams of lava",
        *LAVA,
    ),
    "loops": _transfer(
        "to more streams of lava, by each difference between two loops and joint training",
        *LAVA,
        arms=(
            *THREE,
            *LOOPS,
            Arm("metarims", {"fast.span": 40}),
        ),
    ),
    "corridor": _transfer(
        "to corridors with more doors",
        *CORRIDORS,
    ),
    "rooms": _transfer(
        "to more rooms in a row",
        *ROOMS,
    ),
    "fetch": _transfer(
        "to larger rooms with more things",
        *FETCHES,
    ),
    "ball": _transfer(
        "to a ball among things of all colours, and to other things",
        *BALLS,
    ),
}
