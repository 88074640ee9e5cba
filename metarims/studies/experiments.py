"""Experiments as data: what is trained on what, for how long, and how it is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..config import TOGETHER, RunConfig, find_preset
from ..settings import Leaf, replace_at

FIRST_SEED = 101  # settings are tuned on other seeds


@dataclass(frozen=True)
class Scale:
    """The size of an experiment: maximum frames of a run, runs that differ only in their seed,
    evaluation episodes, and the first seed.
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
        about: its question, in a line.
        arms: the agents compared.
        sources: levels that each arm is trained on, in separate runs. Those joined by "+", here and
            in `onto`, are learnt together.
        scales: its sizes, by name.
        targets: levels for zero-shot evaluation; none if it is only about learning.
        onto: levels that each run then goes on to learn, one after another.
        scratch: whether to learn these from scratch as well.
        knock_out: numbers of active modules to switch off in evaluations on `targets`.
        unseen: levels for zero-shot evaluation during training.
        watched: whether to look at the agents' values, and at their modules at events.
        until: stop once this share of the last 200 episodes succeeds; 0 trains for all frames.
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
        """All levels that it needs, each once."""
        learnt = TOGETHER.join((*self.sources, *self.onto)).split(TOGETHER)
        return (*dict.fromkeys((*learnt, *self.targets, *self.unseen)),)

    def with_settings(self, settings: Mapping[str, Leaf]) -> Experiment:
        """The experiment with settings of every arm changed; its runs have folders of their own."""
        arms = tuple(replace(arm, settings={**arm.settings, **settings}) for arm in self.arms)
        return replace(self, arms=arms)

    def stages(self, scale: Scale, out: str) -> list[list[RunConfig]]:
        """Its runs, one seed of all arms after another: first those from scratch, then, level by
        level, those that continue a run of the previous stage.
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
            "env": tuple(levels[-1].split(TOGETHER)),
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
        """The folder of a run that learnt some levels, one after another."""
        whole = "" if self.until else " to its frames"
        return f"{out}/runs/{arm.label}/{' from '.join(reversed(levels))}{whole}/seed-{seed}"


Experiments = Mapping[str, Experiment]
