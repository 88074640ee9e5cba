"""The command line of Meta-RIMs: ``python run.py --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import agents
import agents.bench
import envs
import envs.bench
import envs.play
from agents.classify.command import Classify
from metarims import cli, ranks
from metarims.commands import (
    Bench,
    Compare,
    Demos,
    Evaluate,
    Levels,
    Play,
    Plot,
    Record,
    Reproduce,
    Resume,
    Search,
    Train,
    Transfer,
    Wiring,
)

COMMANDS = {
    "levels": Levels,
    "train": Train,
    "resume": Resume,
    "evaluate": Evaluate,
    "demos": Demos,
    "play": Play,
    "plot": Plot,
    "record": Record,
    "compare": Compare,
    "transfer": Transfer,
    "reproduce": Reproduce,
    "search": Search,
    "bench": Bench,
    "classify": Classify,
}
WIRING = Wiring(
    simulator=envs,
    program=Path(__file__),
    search_space=agents.SEARCH_SPACE,
    bench_levels=envs.bench.LEVELS,
    simulators=envs.bench.contenders,
    race_cells=agents.bench.race_cells,
    experiments=agents.EXPERIMENTS,
    definitions=agents.definitions,
    play=envs.play.play,
)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 for bad input, with one line on stderr."""
    return cli.main(COMMANDS, WIRING, sys.argv[1:] if args is None else args)


if __name__ == "__main__":
    ranks.exit_with(main())
