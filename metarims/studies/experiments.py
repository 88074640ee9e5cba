"""Experiments as data: who is trained on what, for how long, and what is asked of it then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..config import RunConfig, find_preset
from ..settings import Leaf, replace_at

FIRST_SEED = 101  # settings are searched for on others


@dataclass(frozen=True)
class Scale:
    """How much of it: frames of a run at most, runs alike but for their seeds, from which seed on,
    and episodes.
    """

    frames: int
    seeds: int
    episodes: int = 1000
    first_seed: int = FIRST_SEED


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
        onto: levels that each run goes on to learn, one after the other.
        scratch: whether a run beside each learns these from scratch.
        knock_out: numbers of active modules to be switched off as runs are evaluated on `targets`.
        unseen: levels that runs are evaluated on, zero-shot, time and again while they learn.
        watched: whether to look at the agents as they act: their values, and who works when.
        until: a run ends once the last 200 episodes succeed this often; with 0 at its frames.
        paper: what the paper reports, in Markdown.
    """

    about: str
    arms: tuple[Arm, ...]
    sources: tuple[str, ...]
    scales: Mapping[str, Scale]
    targets: tuple[str, ...] = ()
    onto: tuple[str, ...] = ()
    scratch: bool = True
    knock_out: tuple[int, ...] = ()
    unseen: tuple[str, ...] = ()
    watched: bool = False
    until: float = 0.0
    paper: str = ""

    @property
    def levels(self) -> tuple[str, ...]:
        """All that it takes."""
        return (*self.sources, *self.onto, *self.targets, *self.unseen)

    def with_settings(self, settings: Mapping[str, Leaf]) -> Experiment:
        """The same with some settings of every arm changed; its runs have folders of their own."""
        arms = tuple(replace(arm, settings={**arm.settings, **settings}) for arm in self.arms)
        return replace(self, arms=arms)

    def stages(self, scale: Scale, out: str) -> list[list[RunConfig]]:
        """Its runs, a seed of all arms after the other: first those from scratch, then, level by
        level, those that go on from one of the stage before.
        """
        seeds = range(scale.first_seed, scale.first_seed + scale.seeds)
        alone = (*self.sources, *(self.onto if self.scratch else ()))
        stages: list[list[tuple[str, ...]]] = [[(level,) for level in alone]]
        for count in range(1, len(self.onto) + 1):
            stages.append([(source, *self.onto[:count]) for source in self.sources])
        return [
            [
                self._config(arm, levels, seed, scale, out)
                for seed in seeds
                for levels in stage
                for arm in self.arms
            ]
            for stage in stages
        ]

    def _config(
        self, arm: Arm, levels: tuple[str, ...], seed: int, scale: Scale, out: str
    ) -> RunConfig:
        """A run on the last of some levels, from the arm's run of that seed on those before."""
        own: dict[str, Leaf] = {
            "env": levels[-1:],
            "frames": scale.frames,
            "until": self.until,
            "seed": seed,
            "from": self._folder(arm, levels[:-1], seed, out) if levels[1:] else "",
            "out": self._folder(arm, levels, seed, out),
            "eval.env": self.unseen,
            "eval.episodes": scale.episodes,
        }
        return replace_at(find_preset(arm.preset), {**arm.settings, **own})

    def _folder(self, arm: Arm, levels: tuple[str, ...], seed: int, out: str) -> str:
        """Where a run is that learnt some levels, one after the other."""
        whole = "" if self.until else " to its frames"
        return f"{out}/runs/{arm.label}/{' from '.join(reversed(levels))}{whole}/seed-{seed}"


Experiments = Mapping[str, Experiment]
