"""``train`` and ``resume``."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from tyro.conf import arg

from .. import ranks
from ..config import RunConfig, RunSettings
from ..errors import UsageError, as_usage_errors, check_positive
from ..files import write_json
from ..graphs import check_has
from ..loops import count
from ..monitor import Onlookers
from ..protocols import Agent, MakeEnvironments, Simulator, Stage
from ..runs import CONFIG, Run, check_out, check_out_for_several, find_run, load_run
from ..seeds import Member, train_stacked, why_not_stacked
from ..settings import Leaf, replace_at
from ..stacked import StackedAgent
from ..stopping import Stopped, told_to_repeat
from ..studies.gallery import Gallery
from ..studies.jobs import finished_before, import_flags, is_finished, train_all
from ..studies.launch import launch
from ..studies.unseen import Examiner
from ..tally import has_learnt
from ..training import Summary, resume, train
from .base import (
    RunFolder,
    Wiring,
    build,
    check_levels,
    find_demonstrations,
    make_env,
    resolve_device,
)

Ranks = Annotated[
    int,
    arg(help="processes on this machine that train one agent together, each on its share."),
]
Seeds = Annotated[
    int,
    arg(help="number of runs with consecutive seeds, in parallel, each in a folder of its own."),
]
Stacked = Annotated[
    Literal["auto", "yes", "no"],
    arg(help="train all seeds at once in one process, as a batch; auto: on a GPU."),
]


@dataclass(frozen=True)
class Train:
    """Train an agent."""

    config: RunConfig
    ranks: Ranks = 1
    seeds: Seeds = 1
    stacked: Stacked = "auto"
    imported: tuple[Path, ...] = ()

    def run(self, wiring: Wiring) -> None:
        """Train, and print where the results are."""
        check_positive(ranks=self.ranks, seeds=self.seeds)
        config = replace_at(self.config, {"device": resolve_device(self.config.run.device)})
        for levels in (config.environment.env, config.evaluation.env):
            check_levels(wiring.simulator, levels)
        check_has(torch.device(config.run.device), config.run.capture, config.run.tf32)
        config = on_demonstrated_level(wiring.simulator, config)
        if self.seeds > 1:
            self.train_seeds(wiring, config)
            return
        if not ranks.are_several():  # the first of several makes the folder
            check_out(config)
        with told_how_to_resume(config, self.ranks, import_flags(self.imported)):
            if self.ranks > 1 and not ranks.are_several():
                self.launch(wiring, config)
            else:
                env, agent = said(config, build(wiring.simulator.make, config))
                shown = find_demonstrations(wiring.simulator, config, env)
                onlookers = onlookers_of(wiring.simulator, config, env)
                show(train(config, env, agent, shown, onlookers))

    def train_seeds(self, wiring: Wiring, config: RunConfig) -> None:
        """Train a run for each seed, one per core at a time or all at once."""
        if self.ranks > 1 or ranks.are_several():
            raise UsageError("--seeds already uses all cores: leave out --ranks and torchrun")
        check_out_for_several(config)
        seeds = range(config.run.seed, config.run.seed + self.seeds)
        runs = [replace_at(config, of_its_own(config.run, seed)) for seed in seeds]
        for run in runs if config.run.origin else ():
            load_run(run.run.origin)  # refuses what is not there before anything is trained
        if self.stacks(config):
            train_at_once(wiring, runs)
        else:
            train_all(wiring.program, self.imported, os.cpu_count() or 1, runs)
        print(f"logs        tensorboard --logdir {config.run.out}")

    def stacks(self, config: RunConfig) -> bool:
        """Whether to train all seeds at once; `UsageError` if that is asked for and impossible."""
        wanted = self.stacked == "yes" or (self.stacked == "auto" and config.run.device != "cpu")
        reason = why_not_stacked(config)
        if wanted and reason and self.stacked == "yes":
            raise UsageError(f"{reason}: without --stacked the runs train in parallel")
        if wanted and reason:
            print(f"seeds       in parallel: {reason}", flush=True)
        return wanted and not reason

    def launch(self, wiring: Wiring, config: RunConfig) -> None:
        """Train as several ranks."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "config.json"
            write_json(file, config.as_json())
            arguments = ["train", "--config", str(file), *import_flags(self.imported)]
            launch(wiring.program, arguments, self.ranks)


@dataclass(frozen=True)
class Resume:
    """Continue a run exactly from its last checkpoint.

    Attributes:
        run_folder: the folder of one run; the same `train --seeds`, with more --frames, continues
            all seeds.
        frames: train to this many frames in total (default: as planned).
        until: train until this share of the last 200 episodes succeeds; 0 trains to the last
            frame (default: as planned).
        ranks: number of processes, the same as before.
        device: "auto", "cpu" or "cuda" (default: as before); moving between GPU and CPU changes the
            random numbers.
    """

    run_folder: RunFolder
    frames: int | None = None
    until: float | None = None
    ranks: int = 1
    device: str = ""
    imported: tuple[Path, ...] = ()

    def run(self, wiring: Wiring) -> None:
        """Continue training."""
        check_positive(ranks=self.ranks)
        if self.frames is not None:
            check_positive(frames=self.frames)
        run = until_then(on_device(load_run(self.run_folder), self.device), self.until)
        known = (*run.config.environment.env, *run.config.evaluation.env)
        check_levels(wiring.simulator, [*dict.fromkeys(known)])
        asked = as_asked(run, self.frames)
        if told_finished(run, asked):
            return
        own = [*self.flags(), *import_flags(self.imported)]
        with told_how_to_resume(asked, self.ranks, own):
            if self.ranks > 1 and not ranks.are_several():
                launch(wiring.program, ["resume", self.run_folder, *own], self.ranks)
            else:
                env, agent = said(run.config, build(wiring.simulator.make, run.config))
                shown = find_demonstrations(wiring.simulator, run.config, env)
                onlookers = onlookers_of(wiring.simulator, run.config, env)
                show(resume(run, env, agent, shown, onlookers, self.frames))

    def flags(self) -> list[str]:
        """The flags that were given, but for ranks and imported files."""
        return [
            *(["--frames", str(self.frames)] if self.frames else []),
            *(["--until", str(self.until)] if self.until is not None else []),
            *(["--device", self.device] if self.device else []),
        ]


def as_asked(run: Run, frames: int | None) -> RunConfig:
    """A run's configuration, to `frames` or as planned, where the run is now."""
    own = {"out": str(run.path), "frames": frames or run.config.run.frames}
    return replace_at(run.config, own)


def told_finished(run: Run, config: RunConfig) -> bool:
    """Whether a run is finished as its configuration asks; if it is, says so."""
    if not is_finished(config):
        return False
    if run.load().numbers["frames"] < run.last_metrics()["frames"]:
        return False  # the last checkpoint is damaged
    if ranks.rank() == 0:
        reached = has_learnt(run.last_metrics(), config.run.until)
        why = f"--until {config.run.until} was reached" if reached else "--frames N trains further"
        print(f"{finished_before(config)}: {why}")
    return True


def until_then(run: Run, until: float | None) -> Run:
    """The run with another target success rate, if one is given."""
    given: dict[str, Leaf] = {} if until is None else {"until": until}
    return replace(run, config=replace_at(run.config, given))


def on_device(run: Run, name: str) -> Run:
    """The run on a device, by default where it was; on a CPU without capture and TF32.

    Raises:
        UsageError: there is no such device here.
    """
    try:
        device = resolve_device(name or run.config.run.device)
    except UsageError as error:
        raise UsageError(f"{error} with --device") from None
    plain = {"capture": False, "tf32": False} if device == "cpu" else {}
    return replace(run, config=replace_at(run.config, {"device": device, **plain}))


def of_its_own(run: RunSettings, seed: int) -> dict[str, Leaf]:
    """Settings specific to one of several seeds: the seed, the folder and, if they start from a
    folder of runs, the run with its seed.
    """
    name = f"seed-{seed}"
    origin = Path(run.origin, name) if run.origin else None
    begun = str(origin) if origin and (origin / CONFIG).exists() else run.origin
    return {"seed": seed, "out": f"{run.out}/{name}", "from": begun}


def train_at_once(wiring: Wiring, configs: Sequence[RunConfig]) -> None:
    """Train all unfinished runs at once in this process; prints a line for each run."""
    for config in configs:
        find_run(config)  # refuses one that was begun with other settings, even if it is finished
    for config in filter(is_finished, configs):
        print(finished_before(config), flush=True)
    unfinished = [config for config in configs if not is_finished(config)]
    if not unfinished:
        return
    make = wiring.simulator.make
    built = [build(make, config) for config in unfinished]
    env, _ = said(unfinished[0], built[0], stacked=True)
    print(f"seeds       {len(built)} at once, stacked", flush=True)
    onlookers = onlookers_of(wiring.simulator, unfinished[0], env)
    members = [Member(config, *each) for config, each in zip(unfinished, built, strict=True)]
    with told_to_repeat():
        summaries = train_stacked(members, build_all(make, unfinished), onlookers)
    for summary in summaries:
        print(f"{summary.path}: {in_words(summary)}")


def build_all(make: MakeEnvironments, configs: Sequence[RunConfig]) -> Stage:
    """The environments of runs that differ only in their seed, in one batch."""
    run, environment, count = configs[0].run, configs[0].environment, len(configs)
    levels = environment.env * (count if len(environment.env) > 1 else 1)
    together = replace(environment, env=levels, num_envs=environment.num_envs * count)
    return make_env(make, together, run.device, run.seed)


def on_demonstrated_level(simulator: Simulator, config: RunConfig) -> RunConfig:
    """The configuration, with the level of its demonstrations if it names none."""
    path = config.run.imitate
    if config.environment.env or not path:
        return config
    with as_usage_errors():
        level = simulator.read_level(Path(path))
    return replace_at(config, {"env": (level,)}) if level else config


@contextmanager
def told_how_to_resume(config: RunConfig, count: int, flags: Sequence[str]) -> Iterator[None]:
    """If training is stopped, print the command that resumes it, on `count` ranks with `flags`, or
    that it was finished already.
    """
    try:
        yield
        ranks.wait_for_all()
    except Stopped:
        if ranks.rank() == 0 and not (count == 1 and ranks.are_several()):
            print(f"\nstopped; {what_goes_on(config, count, flags)}", file=sys.stderr)
        raise


def what_goes_on(config: RunConfig, count: int, flags: Sequence[str]) -> str:
    """How a stopped run is resumed, on `count` ranks with `flags`, if anything is left to do."""
    folder = config.run.out
    if not (Path(folder) / CONFIG).exists():
        return "nothing has been written yet"
    if is_finished(config):
        return f"the run is finished: {folder}"
    more = ["--ranks", str(count)] if count > 1 else []
    return f"resume with: {shlex.join(['python', 'run.py', 'resume', folder, *more, *flags])}"


def said(
    config: RunConfig, built: tuple[Stage, Agent], stacked: bool = False
) -> tuple[Stage, Agent]:
    """Print, on rank 0, the agent's size, where its parameters learn and in which form it runs,
    alone or stacked; returns `built`.
    """
    if ranks.rank() == 0:
        groups = built[1].groups()
        total = sum(map(count, groups.values()))
        print(f"agent       {config.preset}, {total:,} parameters")
        for name, size, where in config.loops.where_learnt(groups):
            print(f"  {name:10}{size:>9}  {where}")
        if form := getattr(StackedAgent(built[1:]) if stacked else built[1], "form", ""):
            print(f"runs        {form}", flush=True)
    return built


def onlookers_of(simulator: Simulator, config: RunConfig, env: Stage) -> Onlookers:
    """The onlookers of a run: one that draws the agent at work and, if there are `--eval.env`
    levels, one that evaluates it on them.
    """
    examiner = Examiner(simulator, config, env.device) if config.evaluation.env else None
    return Onlookers(Gallery(simulator, config, env.device), examiner)


def in_words(summary: Summary) -> str:
    """The outcome of training, in words; see `Tally` for which episodes count."""
    rate, ended = 100 * summary.success_rate, summary.episodes
    success = f"success rate {rate:.1f} % of the last {_episodes(summary.window)}"
    if not summary.window:
        others = ", but one that began as early goes on" if ended else ""
        success = f"no success rate yet: {_episodes(ended)} ended{others}"
    return f"{summary.frames:,} frames in {summary.seconds:.0f} s, {success}"


def _episodes(number: int) -> str:
    return f"{number:,} episode{'' if number == 1 else 's'}"


def show(summary: Summary) -> None:
    """Print, on rank 0, the outcome of training, where the results are, and how to measure the
    agent itself: the success rate is of episodes along the way.
    """
    if ranks.rank() == 0:
        evaluate = shlex.join(["python", "run.py", "evaluate", str(summary.path)])
        print(
            f"{in_words(summary)}\n"
            f"logs        tensorboard --logdir {summary.path}\n"
            f"checkpoint  {summary.path / 'checkpoints'}\n"
            f"evaluate    {evaluate}  # measures the agent as it is now"
        )
