"""What the other packages provide to commands, and what commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tyro.conf import Positional

from .. import ranks
from ..checkpoint import Checkpoint
from ..config import EnvironmentConfig, RunConfig
from ..errors import UsageError, as_usage_errors
from ..memory import keep_freed_memory
from ..protocols import (
    Agent,
    AgentConfig,
    Demonstrations,
    MakeEnvironments,
    Simulator,
    Stage,
)
from ..runs import Run, put_parameters
from ..studies.experiments import Experiments
from ..studies.race import Contender
from ..studies.space import Space

LevelId = Annotated[Positional[str], tyro.conf.arg(metavar="ENV")]
RunFolder = Annotated[Positional[str], tyro.conf.arg(metavar="RUN")]
RunFolders = Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Wiring:
    """What the other packages provide to commands.

    Attributes:
        simulator: the environments.
        program: path of the command line, for runs in subprocesses.
        search_space: what `search` varies by default.
        bench_levels: levels of `bench envs` by default.
        simulators: contenders of a race, given a level, a batch size and a device.
        race_cells: times recurrent cells and prints a table, given a clone of the public RIMs
            repository or None, a device, the seconds per round and the number of rounds.
        experiments: experiments that can be reproduced, by name.
        definitions: context in which agents run their definitions instead of compiled code.
        play: lets a person play a level, given a seed, the size of the view in cells, whether to
            show only the view, and whether to open a window; returns how it went, in words.
    """

    simulator: Simulator
    program: Path
    search_space: Space
    bench_levels: Sequence[str]
    simulators: Callable[[str, int, str], Sequence[Contender]]
    race_cells: Callable[[Path | None, str, float, int], Sequence[Mapping[str, object]]]
    experiments: Experiments
    definitions: Callable[[], AbstractContextManager[None]]
    play: Callable[[str, int, int, bool, bool], str]


def resolve_device(name: str) -> str:
    """The device of that name; "auto" is the GPU if there is one."""
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "auto":
        return "cpu" if len(here) == 1 else "cuda"
    if name not in (*here, "cuda") or (name == "cuda" and len(here) == 1):
        what = "is not available" if name.split(":")[0] in ("cpu", "cuda") else "is unknown"
        raise UsageError(f"device {name!r} {what}; choose {', '.join(here)}")
    return name


def make_env(
    make: MakeEnvironments,
    environment: EnvironmentConfig,
    device: str,
    seed: int,
    autoreset: bool = True,
    part: tuple[int, int] = (0, 1),
) -> Stage:
    """Make environments, and set up the process for their device; `UsageError` if invalid."""
    if device == "cpu":  # small matrix products gain nothing from more threads
        torch.set_num_threads(1)
        keep_freed_memory()
    elif device != "cuda":
        torch.cuda.set_device(device)
    with as_usage_errors():
        return environment.made(make, device, seed, autoreset, part)


def check_levels(simulator: Simulator, ids: Sequence[str]) -> None:
    """Refuse unknown levels, and one given twice, before any work is done."""
    for id in ids:
        if ids.count(id) > 1:
            raise UsageError(f"level {id} is given {ids.count(id)} times: once is enough")
        try:
            simulator.check_level(id)
        except ValueError as error:
            raise UsageError(f"{error} (--import FILE loads more)") from None


def build(make: MakeEnvironments, config: RunConfig) -> tuple[Stage, Agent]:
    """The environments and the agent of a run; with several ranks, this rank's."""
    run, environment = config.run, config.environment
    if not environment.env:
        raise UsageError("missing: --env, the levels to train on")
    device = ranks.join(resolve_device(run.device))
    part = (ranks.rank(), ranks.size())
    env = make_env(make, environment, device, run.seed, part=part)
    return env, config.agent.make(env, run.seed)


def find_demonstrations(
    simulator: Simulator, config: RunConfig, env: Stage
) -> Demonstrations | None:
    """The demonstrations that a run imitates, if any."""
    path, algorithm = config.run.imitate, config.algorithm
    if algorithm.imitates and not path:
        raise UsageError(f"missing: --imitate, demonstrations for the algorithm {algorithm.name}")
    if path and not algorithm.imitates:
        raise UsageError(f"the algorithm {algorithm.name} does not imitate: use clone")
    if not path:
        return None
    if ranks.rank() == 0:
        print(f"imitates    {path}", flush=True)
    with as_usage_errors():
        return simulator.read_demonstrations(Path(path), env)


def load_agent(
    run: Run, env: Stage, checkpoint: Checkpoint, agent: AgentConfig | None = None
) -> Agent:
    """A run's agent with a checkpoint's parameters, or another agent with the same parameters."""
    config = run.config
    made = (agent or config.agent).make(env, config.run.seed, config.environment.env)
    put_parameters(made, checkpoint)
    return made
