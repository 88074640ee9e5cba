"""The questions of Rosenbaum et al. 2019, §5, about routing, as data: `run.py classify NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metarims.settings import Leaf

Settings = Mapping[str, Leaf]  # by path


@dataclass(frozen=True)
class Axis:
    """One comparison.

    Attributes:
        about: what differs.
        arms: what is compared, by label: settings in addition to the study's.
        paper: the paper's finding, in a line.
    """

    about: str
    arms: Mapping[str, Settings]
    paper: str


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        about: its question, in a line.
        settings: shared by all arms; the command line cannot change them.
        axes: comparisons.
    """

    about: str
    settings: Settings
    axes: tuple[Axis, ...]

    @property
    def settled(self) -> set[str]:
        """The paths of all settings that the study or its arms fix."""
        arms = [arm for axis in self.axes for arm in axis.arms.values()]
        return {path for settings in (self.settings, *arms) for path in settings}


def each(path: str, values: Sequence[Leaf], beside: Settings) -> dict[str, Settings]:
    """An arm for each value of one setting, with the same settings otherwise."""
    return {str(value): {**beside, path: value} for value in values}


def stepping(part: str, rows: Sequence[tuple[str, float]], beside: Settings) -> dict[str, Settings]:
    """An arm for each optimiser and learning rate of the "blocks" or the "router"."""
    optimizer, rate = OPTIMISED[part]
    return {
        f"{SPELT[name]} {value:g}": {**beside, optimizer: name, rate: value} for name, value in rows
    }


OPTIMISED = {
    "blocks": ("optimizer", "learning_rate"),
    "router": ("router_optimizer", "router_rate"),
}

SPELT = {"sgd": "SGD", "adam": "Adam"}

# Rates at which a few hundred steps suffice; the paper has CIFAR-100 and more epochs.
BASE: Settings = {"methods": ("routing",), "learning_rate": 0.2}
Q: Settings = {"router.maker": "q", "router.maker.half_life": 100}
BY_TASK: Settings = {"router.layout": "task", "router_rate": 3.0}
DISPATCHED: Settings = {"router.layout": "dispatched", "router_rate": 1.0}
BY_DEPTH: Settings = {
    **Q,
    "router.layout": "depth",
    "router.policy": "approximator",
    "router_rate": 0.1,
}
ADAM: Settings = {"optimizer": "adam", "learning_rate": 1e-3}
ROUTER_ADAM: Settings = {"router_optimizer": "adam", "router_rate": 0.1}
UNROUTED: Settings = {"methods": ("task-specific-all-fc",)}

COLLAPSE = Study(
    "when does a router end up with the same blocks for all samples?",
    BASE,
    (
        Axis(
            "who decides (Q-learning)",
            {
                "a router for each task": {**Q, **BY_TASK},
                "dispatched": {**Q, **DISPATCHED},
                "a router for each depth": BY_DEPTH,
                "a single router": {**BY_DEPTH, "router.layout": "single"},
            },
            "with a router for each task Q-learning learns best; without task labels a single "
            "router is at chance, and one for each depth learns 30 % less (Figs. 12 to 14)",
        ),
        Axis(
            "decision maker (dispatched)",
            {
                "q": {**Q, **DISPATCHED},
                "advantage": {**Q, **DISPATCHED, "router.maker": "advantage"},
                **each("router.maker", ("wpl", "baseline", "gumbel"), DISPATCHED),
            },
            "all collapse, nearly all to an entropy of 0 within ten epochs, WPL and Advantage "
            "learning not fully; accuracy is that of a network without routing (Fig. 21)",
        ),
        Axis(
            "router rate (by depth, Q-learning)",
            each("router_rate", (0.01, 0.1, 1.0), BY_DEPTH),
            "not varied",
        ),
        Axis(
            "exploration ε at first (by depth, Q-learning)",
            each("router.maker.epsilon", (0.0, 0.4, 0.8), BY_DEPTH),
            "not varied; above 0.4 for the first five epochs, and only prolonged exploration "
            "undoes a collapse (§3.2, §5.1.3)",
        ),
        Axis(
            "collaboration ρ (by depth, Q-learning)",
            each("router.collaboration", (-1.0, 0.0, 1.0), BY_DEPTH),
            "no discernible effect on CIFAR-100; negative ρ leaves the entropy as it is (Fig. 17)",
        ),
    ),
)

OPTIMISERS = Study(
    "does plain SGD route better than Adam?",
    {"methods": ("routing",)},
    (
        Axis(
            "blocks (router: SGD 3)",
            stepping(
                "blocks",
                (("sgd", 0.05), ("sgd", 0.2), ("adam", 1e-3), ("adam", 3e-3)),
                {**BASE, **Q, **BY_TASK},
            ),
            "unstable with many optimisers, consistently best with plain SGD (Fig. 20)",
        ),
        Axis(
            "router (blocks: SGD 0.2)",
            stepping(
                "router",
                (("sgd", 0.3), ("sgd", 3.0), ("adam", 0.01), ("adam", 0.1)),
                {**BASE, **Q, **BY_TASK},
            ),
            "one optimiser for both (Fig. 20)",
        ),
        Axis(
            "both, and nothing routed",
            {
                "SGD, SGD": {**BASE, **Q, **BY_TASK},
                "Adam, Adam": {**Q, **BY_TASK, **ADAM, **ROUTER_ADAM},
                "no router, SGD": {**BASE, **UNROUTED},
                "no router, Adam": {**ADAM, **UNROUTED},
            },
            "Adam is worse, as its moments belong to other paths than the gradient (§5.3)",
        ),
    ),
)

SPLIT = Study(
    "do blocks and router do better if they learn from separate images?",
    BASE,
    (
        Axis(
            "share of images for the blocks (Q-learning)",
            each("block_share", (1.0, 0.9, 0.7, 0.5), {**Q, **BY_TASK}),
            "a clear effect: the full data benefits both performance and entropy (Fig. 19)",
        ),
        Axis(
            "share of images for the blocks (WPL)",
            each("block_share", (1.0, 0.9, 0.7, 0.5), {}),
            "not varied",
        ),
    ),
)

STUDIES = {"collapse": COLLAPSE, "optimisers": OPTIMISERS, "split": SPLIT}
