"""``demos``: demonstrations by a bot, to imitate."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..config import EnvironmentConfig
from ..errors import UsageError, as_usage_errors, check_positive, check_seed
from ..files import aside, make_folder
from ..status import status_line
from .base import LevelId, Wiring, check_levels


@dataclass(frozen=True)
class Demos:
    """Record demonstrations by BabyAI's bot, as a dataset in Minari's format.

    Attributes:
        env: a BabyAI level.
        out: folder for the dataset, readable with `minari.MinariDataset(OUT/data)`.
        episodes: number of successful episodes; seeds on which the bot gives up are skipped.
        seed: seed of the first episode, the others counting up from it; the default is far from the
            seeds of training and evaluation.
        observation: "symbolic" or "rgb", as for `train`.
        jobs: processes (default: one per core).
    """

    env: LevelId
    out: Path
    episodes: int = 10_000
    seed: int = 1_000_000
    observation: str = EnvironmentConfig.observation
    jobs: int = os.cpu_count() or 1

    def run(self, wiring: Wiring) -> None:
        """Record, write, and print what was skipped."""
        check_positive(episodes=self.episodes, jobs=self.jobs)
        check_seed(self.seed)
        EnvironmentConfig((self.env,), observation=self.observation)
        check_levels(wiring.simulator, (self.env,))
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UsageError(f"{self.out} is not empty; choose another folder")
        make_folder(self.out.parent)
        with as_usage_errors(), aside(self.out) as folder, progress(self.episodes) as report:
            wiring.simulator.demonstrate(
                folder,
                self.env,
                name=self.out.name,
                episodes=self.episodes,
                seed=self.seed,
                observation=self.observation,
                workers=self.jobs,
                report=report,
            )
        print(f"{self.out}: {self.episodes:,} episodes of {self.env}")


@contextmanager
def progress(wanted: int) -> Iterator[Callable[[int, Counter[str]], None]]:
    """A function that shows the number of episodes; at the end, prints why seeds were skipped."""
    begun, failures = time.monotonic(), Counter[str]()
    with status_line() as status:

        def report(count: int, passed_over: Counter[str]) -> None:
            nonlocal failures
            failures = passed_over
            rate = count / max(time.monotonic() - begun, 1e-9)
            status.show(
                lambda: (
                    f"{count:,}/{wanted:,} episodes · {rate:,.0f}/s · "
                    f"{passed_over.total():,} seeds skipped"
                )
            )

        yield report
    for failure, count in failures.most_common():
        print(f"skipped {count:,} seeds  {failure}")
