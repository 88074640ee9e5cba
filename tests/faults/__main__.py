"""``python -m tests.faults COMMAND``: the tests of faults at length."""

import sys
from collections.abc import Callable
from typing import Any

import tyro

from .damage import faults
from .kills import kills
from .mutations import mutated_checkpoints, mutated_configurations, random_lines
from .signals import signals

COMMANDS: dict[str, Callable[..., Any]] = {
    "kills": kills,
    "faults": faults,
    "checkpoints": mutated_checkpoints,
    "configurations": mutated_configurations,
    "lines": random_lines,
    "signals": signals,
}

if __name__ == "__main__":
    sys.exit(tyro.extras.subcommand_cli_from_dict(COMMANDS))
