"""`make gpu-check` without a GPU: a dry run of every step, and how failures are reported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .gpu_check import __main__ as gpu_check
from .gpu_check.exactness import first_difference, trajectory
from .gpu_check.report import Outcome, Step, take_apart
from .gpu_check.scale import DRY

ROOT = Path(__file__).parent.parent


def test_a_dry_run_takes_every_step(tmp_path):
    """In a separate process, as in `make gpu-check`."""
    words = [sys.executable, "-m", "tests.gpu_check", "--dry-run", "--out", tmp_path / "report.md"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = (tmp_path / "report.md").read_text()
    for step in gpu_check.STEPS:
        assert f"## {step.title}: holds" in report
        assert f"In place of a GPU: {step.stand_in}." in report


def test_a_step_that_fails_keeps_none_from_being_taken(tmp_path, monkeypatch):
    def fail(scale):
        raise ValueError("of no use")

    steps = [
        Step("one", "The first", fail, "nothing"),
        Step("two", "The second", lambda scale: Outcome(False, ["- it differs"]), "nothing"),
        Step("three", "The third", lambda scale: Outcome(True, ["all is well"]), "nothing"),
    ]
    monkeypatch.setattr(gpu_check, "STEPS", steps)
    out = tmp_path / "report.md"
    assert not gpu_check.GpuCheck(dry_run=True, out=out).run()
    report = out.read_text()
    assert "The first: FAILED" in report
    assert "`ValueError: of no use`" in report
    assert "The second: FAILED" in report
    assert "- it differs" in report
    assert "The third: holds" in report
    assert gpu_check.GpuCheck(dry_run=True, out=out, only=("three",)).run()
    assert "The first" not in out.read_text()


def die(scale):
    os._exit(3)


def live(scale):
    return Outcome(True, [f"process {os.getpid()}"])


def test_a_step_dies_alone():
    """A step that crashes its process does not stop the others."""
    died = take_apart(Step("one", "The first", die, "nothing"), DRY)
    assert not died.holds
    assert died.error.startswith("BrokenProcessPool: ")
    lived = take_apart(Step("two", "The second", live, "nothing"), DRY)
    assert lived.holds
    assert lived.outcome.lines != [f"process {os.getpid()}"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is no CUDA device here: nothing was checked; try --dry-run"),
        (["--only", "cell"], "unknown step 'cell'; nearest: cells"),
        (["--out", "nowhere/report.md"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_check", *words])
    assert gpu_check.main() == 2
    assert message in capsys.readouterr().err


def test_a_difference_is_found_and_named():
    level = "MiniGrid-Empty-5x5-v0"
    ours, theirs = (list(trajectory(level, 2, 5, "cpu")) for _ in range(2))
    assert not first_difference(iter(ours), iter(theirs))
    theirs[3]["image"][1, 0, 0, 0] += 1
    assert first_difference(iter(ours), iter(theirs)) == "image after 3 steps"
