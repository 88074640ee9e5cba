"""``python -m tests.faults COMMAND``: the tests of faults at length."""

import sys

import tyro

from .kills import kills

COMMANDS = {"kills": kills}

if __name__ == "__main__":
    sys.exit(tyro.extras.subcommand_cli_from_dict(COMMANDS))
