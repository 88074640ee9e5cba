"""``search``: settings, with the same effort for each agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..config import find_preset
from ..errors import check_positive
from ..settings import replace_at
from ..studies.jobs import train_all
from ..studies.search import Trial, final_round, first_round, for_all
from .base import Wiring, check_levels


@dataclass(frozen=True)
class Search:
    """Search for settings, with the same effort for each agent; a stopped search goes on.

    Attributes:
        agent: presets.
        env: level ids; each trial runs on each of them.
        frames: of each run.
        trials: random points beside the defaults.
        finalists: the best points, which run with more seeds.
        seeds: of the defaults and the finalists.
        jobs: runs at a time.
        out: folder of the runs.
    """

    agent: tuple[str, ...] = ("lstm", "rims", "metarims")
    env: tuple[str, ...] = ("MiniGrid-DoorKey-5x5-v0", "BabyAI-GoToRedBallGrey-v0")
    frames: int = 300_000
    trials: int = 8
    finalists: int = 2
    seeds: int = 3
    jobs: int = 2
    out: str = "runs/search"
    imported: tuple[Path, ...] = ()

    def run(self, wiring: Wiring) -> None:
        """Print each agent's defaults and finalists, then all points' means over the agents."""
        check_positive(trials=self.trials, finalists=self.finalists, jobs=self.jobs)
        check_positive(seeds=self.seeds)
        check_levels(wiring.simulator, self.env)
        presets = [find_preset(name) for name in self.agent]
        train = partial(train_all, wiring.program, self.imported, self.jobs)
        own = {"env": self.env, "frames": self.frames, "out": self.out}
        rounds = []
        for preset in presets:
            base = replace_at(preset, own)
            rounds.append(first_round(base, wiring.search_space, train, self.trials))
            final = final_round(base, train, rounds[-1], self.finalists, self.seeds)
            print_trials(preset.preset, final)
        if len(rounds) > 1:
            print_trials("all", for_all(rounds))


def print_trials(agent: str, trials: Sequence[Trial]) -> None:
    """A line a trial."""
    for trial in trials:
        settings = " ".join(f"{name}={value}" for name, value in trial.settings.items())
        print(f"{agent:10} mean success {trial.score:.3f}  {settings or 'defaults'}")
