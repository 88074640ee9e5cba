"""A small part of ``python -m tests.faults``."""

import subprocess
import sys
from pathlib import Path

import pytest

from .faults.mutations import mutated_checkpoints, mutated_configurations, random_lines

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [
        "kills --agents lstm --count 4 --iterations 12 --small --forked",
        "faults --writes 3 --fillings 2 --few",
    ],
)
def test_a_run_that_is_cut_off_or_damaged_ends_as_if_nothing_had_been(command):
    """In a separate process, which has no threads yet when it forks."""
    words = [sys.executable, "-m", "tests.faults", *command.split()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mutated", [mutated_checkpoints, mutated_configurations, random_lines])
def test_input_that_is_none_gets_a_line(mutated):
    mutated(examples=40)
