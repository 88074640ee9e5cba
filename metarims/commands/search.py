"""``search``: hyperparameter search, with the same budget for each agent."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..config import RunConfig, find_preset
from ..errors import check_positive, check_seed
from ..files import held, write_text
from ..settings import Leaf, replace_at
from ..status import status_line
from ..studies.finals import make_finals
from ..studies.jobs import GLANCE, train_all, train_one, workers
from ..studies.search import PRUNERS, SAMPLERS, Studies
from ..studies.search_report import as_csv, as_markdown
from ..studies.space import check_space, read_space
from .base import Wiring, check_levels


@dataclass(frozen=True)
class Search:
    """Search hyperparameters with Optuna, with the same budget for each agent; resumable.

    The same command, started several times with the same --out, also on several machines, shares
    the work.

    Attributes:
        agent: presets.
        env: level ids; each trial trains on each of them.
        vary: settings as PATH=LOW..HIGH (log-uniform; integers if both ends are) or
            PATH=ONE,OTHER (default: learning rates, epochs, minibatches, attention, entropy, log
            barrier, λ).
        frames: frames of each run.
        trials: trials of each agent, the first with its defaults.
        finalists: number of best trials to run again with fresh seeds, next to the defaults.
        seeds: fresh seeds for each of these.
        sampler: "tpe", "random" or "gp".
        pruner: how to stop trials that lag behind: "median", "hyperband" or "none".
        seed: seed of the sampler.
        jobs: parallel trials on this machine (default: one per core).
        out: folder for the runs, search.journal, report.md and trials.csv.
    """

    agent: tuple[str, ...] = ("lstm", "rims", "metarims")
    env: tuple[str, ...] = ("MiniGrid-DoorKey-5x5-v0", "BabyAI-GoToRedBallGrey-v0")
    vary: tuple[str, ...] = ()
    frames: int = 300_000
    trials: int = 16
    finalists: int = 2
    seeds: int = 3
    sampler: str = SAMPLERS[0]
    pruner: str = PRUNERS[0]
    seed: int = 0
    jobs: int = os.cpu_count() or 1
    out: Path = Path("runs/search")
    imported: tuple[Path, ...] = ()

    def run(self, wiring: Wiring) -> None:
        """Run the remaining trials, then the finalists, and print the report."""
        check_positive(trials=self.trials, finalists=self.finalists, jobs=self.jobs)
        check_seed(self.seed)
        check_positive(seeds=self.seeds, agents=len(self.agent), levels=len(self.env))
        check_levels(wiring.simulator, self.env)
        own: dict[str, Leaf] = {"env": self.env, "frames": self.frames}
        presets = tuple(replace_at(find_preset(name), own) for name in dict.fromkeys(self.agent))
        space = read_space(self.vary) or wiring.search_space
        if self.vary:
            check_space(presets, space)
        search = Studies(
            self.out, presets, space, self.trials, self.sampler, self.pruner, self.seed
        )
        self.make_trials(wiring, search)
        if search.missing():
            print(
                f"other workers are still running {search.missing()} trials: the last one writes "
                "the report, or run the same command again later"
            )
            return
        with held(self.out / "finals") as mine:
            if not mine:
                print("another worker is training the finalists")
                return
            train = partial(train_all, wiring.program, self.imported, self.jobs)
            finals = make_finals(search, self.finalists, self.seeds, train)
        write_text(self.out / "trials.csv", as_csv(search, finals))
        report = as_markdown(search, finals)
        write_text(self.out / "report.md", report)
        print(report)

    def make_trials(self, wiring: Wiring, search: Studies) -> None:
        """Run trials in parallel until none is left to start."""

        def finish(config: RunConfig, stopped: Callable[[], bool]) -> str:
            return train_one(wiring.program, self.imported, stopped, config)

        def work() -> None:
            for line in search.work(finish, stop.is_set):
                said.append(line)

        said: list[str] = []
        with workers(self.jobs) as (pool, stop):
            watch(search, [pool.submit(work) for _ in range(self.jobs)], said)


def watch(search: Studies, waiting: Sequence[Future[None]], said: list[str]) -> None:
    """Print what has finished, and how many trials there are, until all workers are done."""
    with status_line() as status:
        while not wait(waiting, GLANCE, FIRST_EXCEPTION).done >= {*waiting} or said:
            for each in wait(waiting, 0).done:
                each.result()
            while said:
                status.say(said.pop(0))
            status.show(search.overview)
    for each in waiting:
        each.result()
