"""Experiments as data: who is trained on what, for how long, and what is asked of it then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..config import RunConfig, find_preset
from ..settings import Leaf, replace_at

FIRST_SEED = 101  # settings are searched for on others


@dataclass(frozen=True)
class Scale:
    """How much of it: frames of a run at most, runs alike but for their seeds, and episodes."""

    frames: int
    seeds: int
    episodes: int = 1000


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a preset with some settings changed, by path."""

    preset: str
    settings: Mapping[str, Leaf] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of its runs' folder."""
        changed = "".join(f" {path}={leaf}" for path, leaf in self.settings.items())
        return f"{self.preset}{changed}"


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes:
        about: what it asks, in a line.
        arms: who is compared.
        sources: levels that each is trained on, a run each.
        scales: how much, by name.
        targets: levels that runs are evaluated on, zero-shot; with none it is about learning.
        until: a run ends once the last 200 episodes succeed this often; with 0 at its frames.
        paper: what the paper reports, in Markdown.
    """

    about: str
    arms: tuple[Arm, ...]
    sources: tuple[str, ...]
    scales: Mapping[str, Scale]
    targets: tuple[str, ...] = ()
    until: float = 0.0
    paper: str = ""

    def configs(self, scale: Scale, out: str) -> Iterator[RunConfig]:
        """Its runs, a seed of all arms after the other."""
        for seed in range(FIRST_SEED, FIRST_SEED + scale.seeds):
            for source in self.sources:
                for arm in self.arms:
                    own = {
                        "env": (source,),
                        "frames": scale.frames,
                        "until": self.until,
                        "seed": seed,
                        "out": f"{out}/runs/{arm.label}/{source}/seed-{seed}",
                    }
                    yield replace_at(find_preset(arm.preset), {**arm.settings, **own})


Experiments = Mapping[str, Experiment]
