"""The command line of Meta-RIMs: ``python run.py --help``."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import gymnasium
import torch
import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

import agents
import agents.bench
import envs
import envs.bench
import metarims
import metarims.bench
import metarims.studies
from agents.routing.classify import ClassifyConfig
from agents.routing.reports import REPORTS
from metarims import TrainConfig, UsageError
from metarims.analysis import watch
from metarims.config import Setting
from metarims.errors import check_between, check_choice, check_positive
from metarims.memory import keep_freed_memory
from metarims.recording import record_episodes, save_gif
from metarims.rollout import Rollout

EVALUATION_ENVS, WATCHED_ENVS = 512, 64
LEARNERS = ("lstm", "rims", "metarims")
TRAIN_LEVEL = "MiniGrid-DoorKey-5x5-v0"


@dataclass(frozen=True)
class Levels:
    """List the levels that can be trained on.

    Attributes:
        pattern: part of a name, or a pattern such as '*DoorKey*'.
    """

    pattern: Positional[str] = "*"

    def run(self) -> None:
        """Print the ids that match."""
        pattern = self.pattern if "*" in self.pattern else f"*{self.pattern}*"
        found = fnmatch.filter(envs.levels(), pattern)
        if not found:
            check_choice("level", self.pattern, envs.levels())
        print("\n".join(found))


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train an agent."""

    device: str = "auto"

    def run(self) -> None:
        """Train and say where everything is."""
        settings = {field.name: getattr(self, field.name) for field in fields(TrainConfig)}
        settings["device"] = resolve_device(self.device)
        settings["options"] = agents.settings(self.agent, self.options)
        config = TrainConfig(**settings)
        with told_how_to_resume(config.out):
            show(metarims.train(config, *build(config)))


@dataclass(frozen=True)
class Resume:
    """Go on with a run exactly where its last checkpoint stands.

    Attributes:
        run_folder: the run's folder.
        frames: go on to this many frames in all (default: as planned).
    """

    run_folder: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")]
    frames: int | None = None

    def run(self) -> None:
        """Train on."""
        if self.frames is not None:
            check_positive(frames=self.frames)
        run = metarims.load_run(self.run_folder)
        resolve_device(run.config.device)
        with told_how_to_resume(self.run_folder):
            show(metarims.resume(run, *build(run.config), frames=self.frames))


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a run's agent, on the levels it was trained on or zero-shot on others.

    Attributes:
        run_folder: the run's folder.
        env: level ids (default: those of the training).
        episodes: fresh episodes on each level.
        seed: of the episodes and the actions.
        knock_out: evaluate as well with so many of the active modules switched off, drawn anew each
            step, and with each module switched off for good.
        device: "auto", "cpu" or "cuda".
        json: file for the results.
    """

    run_folder: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")]
    env: tuple[str, ...] = ()
    episodes: int = 1000
    seed: int = 10_000
    knock_out: int = 0
    device: str = "auto"
    json: Path | None = None

    def run(self) -> None:
        """Evaluate level by level."""
        check_positive(episodes=self.episodes)
        check_writable(self.json)
        run = metarims.load_run(self.run_folder)
        config = run.config
        levels = self.env or config.env
        for level in levels:
            check_level(level)
        device = resolve_device(self.device)
        lesions = knock_outs(config, self.knock_out)
        reports = []
        print(f"{'level':36}{'episodes':>9}{'success':>9}   {'95 %':17}{'return':>8}{'steps':>8}")
        for level in levels:
            env = make_env([level], min(self.episodes, EVALUATION_ENVS), device, self.seed)
            for name, options in lesions.items():
                agent = load_agent(run, env, options)
                report = metarims.evaluate(agent, env, episodes=self.episodes, seed=self.seed)
                off = {"knocked_out": name} if self.knock_out else {}
                reports.append(report.as_json() | off)
                print(evaluation_line(reports[-1]))
        write_json(self.json, reports)


@dataclass(frozen=True)
class Bench:
    """Measure speed here, beside the peers that are installed.

    Attributes:
        what: "envs", steps per second of the simulators; "agents", frames per second of recurrent
            cells, forward and backward; "train", frames per second of learning.
        env: level ids (default: DoorKey-8x8 and GoToLocal; for "train" DoorKey-5x5).
        num_envs: the engine's batch in "envs".
        seconds: length of a round.
        rounds: how often each is timed, in turn.
        device: "auto", "cpu" or "cuda".
        rims_repo: a clone of the public RIMs repository, whose cell "agents" then times as well.
        json: file for the results.
    """

    what: Positional[Literal["envs", "agents", "train"]] = "envs"
    env: tuple[str, ...] = ()
    num_envs: int = envs.bench.NUM_ENVS
    seconds: float = 2.0
    rounds: int = 5
    device: str = "auto"
    rims_repo: Path | None = None
    json: Path | None = None

    def run(self) -> None:
        """Measure and print a table."""
        check_positive(num_envs=self.num_envs, seconds=self.seconds, rounds=self.rounds)
        check_writable(self.json)
        device = resolve_device(self.device)
        if self.what == "agents":
            cells = agents.bench.cells(self.rims_repo)
            write_json(self.json, race_cells(cells, device, self.seconds, self.rounds))
            return
        default = envs.bench.LEVELS if self.what == "envs" else (TRAIN_LEVEL,)
        speeds: list[envs.bench.Speed] = []
        for level in self.env or default:
            check_choice("level", level, envs.levels())
            if self.what == "envs":
                contenders = envs.bench.contenders(level, self.num_envs, device)
            else:
                contenders = learners(level, device)
            speeds += envs.bench.race(contenders, self.seconds, self.rounds)
        if self.what == "envs":
            ratios = [1 / ratio for ratio in envs.bench.ratios(speeds, "engine")]
            print(envs.bench.table(speeds, "engine is", ratios))
        else:
            print(envs.bench.table(speeds, "torch-ac's", envs.bench.ratios(speeds, "torch-ac")))
            for agent in LEARNERS if device == "cpu" else ():
                config = preset_config(agent, (self.env or default)[0], device)
                shares = metarims.bench.time_shares(*build(config), config, self.seconds)
                print_shares(agent, shares)
        write_json(self.json, envs.bench.as_json(speeds))


@dataclass(frozen=True)
class Plot:
    """Draw the learning curves of runs, and of each one its modules, values and some episodes.

    Attributes:
        runs: the runs' folders.
        out: folder for the figures.
        steps: each agent is watched for so many steps of 64 environments on its training levels.
        seed: of those steps.
        device: "auto", "cpu" or "cuda".
    """

    runs: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN")]
    out: Path
    steps: int = 256
    seed: int = 10_000
    device: str = "auto"

    def run(self) -> None:
        """Draw, and print what the modules do."""
        from metarims import figures  # slow to import

        check_positive(steps=self.steps, runs=len(self.runs))
        device = resolve_device(self.device)
        check_folder(self.out)
        runs = [metarims.load_run(path) for path in self.runs]
        rollouts = [self.watch(run, device) for run in runs]
        figures.draw_curves(runs, agents.settings, self.out / "curves.png")
        for run, rollout in zip(runs, rollouts, strict=True):
            folder = self.out / "-".join(run.path.resolve().parts[-2:])
            choices = figures.draw_run(run, rollout, folder)
            if choices:
                write_json(folder / "modules.json", choices)
            for choice, found in choices.items():
                print(f"{run.path}: {choice}: {modules_line(found)}")
        print(f"figures in {self.out}")

    def watch(self, run: metarims.Run, device: str) -> Rollout:
        """The run's agent at work."""
        env = make_env(run.config.env, WATCHED_ENVS, device, self.seed)
        return watch(load_agent(run, env), env, self.steps, self.seed)


@dataclass(frozen=True)
class Record:
    """Show an agent at work in an animated picture, its modules and its value beside it.

    Attributes:
        run_folder: the run's folder.
        out: the GIF file.
        env: a level id (default: the first of the training).
        episodes: how many.
        frames: at most so many pictures in all.
        seed: of the episodes and the actions.
    """

    run_folder: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")]
    out: Path
    env: str = ""
    episodes: int = 5
    frames: int = 500
    seed: int = 10_000

    def run(self) -> None:
        """Record."""
        check_positive(episodes=self.episodes, frames=self.frames)
        check_writable(self.out)
        run = metarims.load_run(self.run_folder)
        level = self.env or run.config.env[0]
        env = make_env([level], 1, "cpu", self.seed, autoreset=False)
        episodes = record_episodes(load_agent(run, env), env, self.episodes, self.seed)
        save_gif(list(islice(episodes, self.frames)), self.out)
        print(f"{self.out}: {level}")


@dataclass(frozen=True)
class Compare:
    """Set runs side by side: interquartile means over seeds with 95 % intervals.

    Attributes:
        runs: the runs' folders.
        target: success rate whose frames are asked for.
        json: file for the results.
    """

    runs: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN")]
    target: float = metarims.studies.TARGET
    json: Path | None = None

    def run(self) -> None:
        """Print one row for each level, agent and settings."""
        check_between(0, 1, target=self.target)
        check_writable(self.json)
        runs = [metarims.load_run(path) for path in self.runs]
        rows = metarims.studies.compare(runs, agents.settings, self.target)
        print(metarims.studies.comparison_table(rows, self.target))
        write_json(self.json, [without_infinities(asdict(row)) for row in rows])


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

    agent: tuple[str, ...] = LEARNERS
    env: tuple[str, ...] = (TRAIN_LEVEL, "BabyAI-GoToRedBallGrey-v0")
    frames: int = 300_000
    trials: int = 8
    finalists: int = 2
    seeds: int = 3
    jobs: int = 2
    out: str = "runs/search"

    def run(self) -> None:
        """Print each agent's defaults and finalists, then all points' means over the agents."""
        check_positive(trials=self.trials, finalists=self.finalists, jobs=self.jobs)
        check_positive(seeds=self.seeds)
        for level in self.env:
            check_level(level)
        for agent in self.agent:
            agents.schedule(agent)  # refuses unknown ones before any work is done
        train = partial(train_all, self.jobs)
        rounds = []
        for agent in self.agent:
            base = TrainConfig(env=self.env, agent=agent, frames=self.frames, out=self.out)
            rounds.append(metarims.studies.first_round(base, train, self.trials))
            final = metarims.studies.final_round(
                base, train, rounds[-1], self.finalists, self.seeds
            )
            print_trials(agent, final)
        if len(rounds) > 1:
            print_trials("all", metarims.studies.for_all(rounds))


def print_trials(agent: str, trials: Sequence[metarims.studies.Trial]) -> None:
    """A line a trial."""
    for trial in trials:
        settings = " ".join(f"{name}={value}" for name, value in trial.settings.items())
        print(f"{agent:10} mean success {trial.score:.3f}  {settings or 'defaults'}")


@dataclass(frozen=True)
class Classify(ClassifyConfig):
    """Routing networks as multi-task classifiers, beside their baselines.

    Attributes:
        what: "compare" trains every method with every seed; "cost" times training steps from 2 to
            20 function blocks; "study" is the study of gradient estimators.
        out: folder for tables and figures.
    """

    what: Positional[Literal["compare", "cost", "study"]] = "compare"
    out: Path = Path("runs/classify")

    def run(self) -> None:
        """Print the tables and leave the figures."""
        torch.set_num_threads(1)
        REPORTS[self.what](self, self.out)
        print(f"figures and tables in {self.out}")


Command = (
    Annotated[Levels, subcommand("levels")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Resume, subcommand("resume")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Classify, subcommand("classify")]
    | Annotated[Compare, subcommand("compare")]
    | Annotated[Plot, subcommand("plot")]
    | Annotated[Record, subcommand("record")]
    | Annotated[Search, subcommand("search")]
)
COMMANDS = (
    "levels",
    "train",
    "resume",
    "evaluate",
    "bench",
    "classify",
    "compare",
    "plot",
    "record",
    "search",
)


def resolve_device(name: str) -> str:
    """The device meant by the name; "auto" is the GPU where there is one."""
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "auto":
        return "cpu" if len(here) == 1 else "cuda"
    if name not in (*here, "cuda") or (name == "cuda" and len(here) == 1):
        raise UsageError(f"device {name!r} is not here; there is {', '.join(here)}")
    return name


def check_level(id: str) -> None:
    """Refuse what is neither a level nor known to Gymnasium, before any work is done."""
    if id not in gymnasium.registry:
        check_choice("level", id, envs.levels())


def make_env(
    ids: Sequence[str], num_envs: int, device: str, seed: int, autoreset: bool = True
) -> envs.Environments:
    """The environments; what they refuse is the user's to mend."""
    try:
        return envs.make(
            list(ids), num_envs=num_envs, device=device, seed=seed, autoreset=autoreset
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def build(config: TrainConfig) -> tuple[envs.Environments, Any, metarims.Schedule]:
    """Environments, agent and schedule of a run."""
    if config.device == "cpu":  # small products gain nothing from a second core's waiting threads
        torch.set_num_threads(1)
        keep_freed_memory()
    env = make_env(config.env, config.num_envs, config.device, config.seed)
    agent = agents.make(config.agent, env, config.options, seed=config.seed)
    return env, agent, agents.schedule(config.agent, config.options)


def load_agent(
    run: metarims.Run, env: envs.Environments, options: Mapping[str, Setting] | None = None
) -> metarims.Agent:
    """A run's agent as its newest checkpoint has it, with some options changed."""
    config = run.config
    changed = {**config.options, **(options or {})}
    agent = agents.make(config.agent, env, changed, seed=config.seed, levels=config.env)
    run.load_agent(agent)
    return agent


def knock_outs(config: TrainConfig, count: int) -> dict[str, dict[str, Setting]]:
    """The options that switch modules off, by what they are called; nothing off comes first."""
    lesions: dict[str, dict[str, Setting]] = {"": {}}
    if count:
        row = agents.preset(config.agent, config.options)
        if row.core != "rims":
            raise UsageError(f"agent {config.agent!r} has no modules to knock out")
        lesions[f"{count} off"] = {"knock_out": count}
        lesions |= {f"module {j} off": {"disabled": j} for j in range(row.modules)}
    return lesions


def modules_line(modules: Mapping[str, Any]) -> str:
    """What the modules do, in short."""
    use = " ".join(f"{share:.2f}" for name, share in modules.items() if name.startswith("use_"))
    return (
        f"use {use}, dead {modules['dead']:.0f}, H(A) {modules['H_A']:.3f}, "
        f"H(A|X) {modules['H_A_given_X']:.3f}, difference {modules['information']:.3f} nats"
    )


def train_all(jobs: int, configs: Sequence[TrainConfig]) -> list[metarims.Run]:
    """The runs of some configurations; those that are not finished are trained, some at a time."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting = [pool.submit(train_quietly, config) for config in configs]
        for n, done in enumerate(as_completed(waiting), 1):
            print(f"{n}/{len(waiting)}  {done.result()}", flush=True)
    return [metarims.load_run(config.out) for config in configs]


def train_quietly(config: TrainConfig) -> str:
    """Finish the run, or begin it; one line on how it went."""
    with contextlib.redirect_stdout(io.StringIO()):
        if (Path(config.out) / "config.json").exists():
            summary = metarims.resume(metarims.load_run(config.out), *build(config))
        else:
            summary = metarims.train(config, *build(config))
    return f"{config.out}: success rate {summary.success_rate:.1%}"


@contextlib.contextmanager
def told_how_to_resume(folder: str) -> Any:
    """Ctrl-C ends training with the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped; go on with: python run.py resume {folder}", file=sys.stderr)
        raise


def show(summary: metarims.Summary) -> None:
    """Say how a training went and where everything is."""
    print(
        f"{summary.frames:,} frames in {summary.seconds:.0f} s, "
        f"success rate {summary.success_rate:.1%}\n"
        f"logs        tensorboard --logdir {summary.path}\n"
        f"checkpoint  {Path(summary.path) / 'checkpoints'}"
    )


def evaluation_line(report: dict[str, Any]) -> str:
    """One level's evaluation as a row of the table."""
    low, high = report["success_ci95"]
    interval = f"{low:.1%} to {high:.1%}"
    name = ", ".join(filter(None, [report["env"], report.get("knocked_out")]))
    return (
        f"{name:36}{report['episodes']:>9}{report['success_rate']:>9.1%}   "
        f"{interval:17}{report['mean_return']:>8.3f}{report['mean_length']:>8.1f}"
    )


def learners(level: str, device: str) -> list[envs.bench.Contender]:
    """Our presets and, where it is installed, torch-ac, ready to race."""
    found = [
        envs.bench.Contender(agent, "this one", level, partial(start_learner, agent, level, device))
        for agent in LEARNERS
    ]
    version = envs.bench.installed_version("torch_ac")
    if version and device == "cpu":
        prepare = partial(start_torch_ac, level)
        found.append(envs.bench.Contender("torch-ac", version, level, prepare))
    return found


def race_cells(
    cells: Mapping[str, Callable[[], agents.bench.Cell]], device: str, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Time recurrent cells in turn; print a table and, on the CPU, where each one's time goes."""
    contenders = [
        envs.bench.Contender(name, "", "", partial(agents.bench.start_cell, make, device))
        for name, make in cells.items()
    ]
    rates = {speed.name: speed.rounds for speed in envs.bench.race(contenders, seconds, rounds)}
    parameters = {name: make().parameters for name, make in cells.items()}
    print(agents.bench.table(rates, parameters))
    rows: list[dict[str, Any]] = []
    for name, rounds_of_it in rates.items():
        shares = agents.bench.time_shares(cells[name]) if device == "cpu" else {}
        if shares:
            print_shares(name, shares)
        rows.append(
            {
                "name": name,
                "parameters": parameters[name],
                "frames_per_second": median(rounds_of_it),
                "rounds": list(rounds_of_it),
                "shares": shares,
            }
        )
    return rows


def preset_config(agent: str, level: str, device: str) -> TrainConfig:
    """A preset as ``train`` runs it."""
    return TrainConfig(env=(level,), agent=agent, out="", device=device)


def start_learner(agent: str, level: str, device: str) -> envs.bench.Start:
    """A preset learning on the level; called in a process of its own."""
    config = preset_config(agent, level, device)
    burst = metarims.bench.start_learning(*build(config), config)
    burst()
    return config.num_envs, burst


def start_torch_ac(level: str) -> envs.bench.Start:
    """torch-ac learning on the level; called in a process of its own."""
    burst = metarims.bench.start_torch_ac(level)
    burst()
    return metarims.bench.TORCH_AC_PROCESSES, burst


def print_shares(name: str, shares: Mapping[str, float]) -> None:
    """Print where a preset's or a cell's time goes."""
    parts = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
    print(f"{name}'s time: {parts}")


def check_writable(path: Path | None) -> None:
    """Refuse a file in a folder that is not there before any work is done."""
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")


def check_folder(path: Path) -> None:
    """Refuse a folder that is a file before any work is done."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; choose another folder")


def write_json(path: Path | None, content: Any) -> None:
    """Write the file whole or not at all."""
    if path is not None:
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(json.dumps(content, indent=2) + "\n")
        aside.replace(path)


def without_infinities(row: Mapping[str, Any]) -> dict[str, Any]:
    """null for what JSON has no number for: a target that was never reached, modules not there."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def one_line(message: str) -> str:
    """What tyro's message says, without its title, its frame and the advice below it."""
    sections = [""]
    for line in message.splitlines():
        text = line.strip(" │╭╮╰╯─")
        if not text.strip("-"):  # a rule, between sections
            sections.append("")
        else:
            sections[-1] += f" {text}"
            sections += [""] * line.startswith("╭")  # the title ends with its line
    said = [re.sub(r"^Error parsing (?!-)\S+: ", "", section.strip()) for section in sections]
    _, *body = [text for text in said if text]
    return "; ".join(text for text in body if not text.startswith(("For full", "Argument help")))


def parse(args: Sequence[str]) -> Any:
    """The command that the arguments spell.

    Raises:
        UsageError: they spell none.
    """
    if args and not args[0].startswith("-"):
        check_choice("command", args[0], COMMANDS)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                Command,
                prog="run.py",
                args=args,
                config=(OmitArgPrefixes, OmitSubcommandPrefixes),
            )
    except SystemExit as end:
        if end.code:
            raise UsageError(one_line(complaint.getvalue())) from None
        raise


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 for bad input, with one line on stderr."""
    try:
        parse(sys.argv[1:] if args is None else args).run()
    except UsageError as error:
        print(f"run.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
