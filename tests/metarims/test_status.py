"""Progress messages when the output is not a terminal."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from metarims import monitor, status

ROOT = Path(__file__).parents[2]


def test_a_line_after_three_seconds_and_then_every_ten(capsys, monkeypatch):
    clock = SimpleNamespace(now=0)
    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=lambda: clock.now))
    asked = []

    def line():
        asked.append(clock.now)
        return f"at {clock.now}"

    with status.status_line() as shown:
        for clock.now in range(31):
            shown.show(line)
        for clock.now in range(31, 61):
            shown.show(lambda: "at 26")  # nothing new
    assert capsys.readouterr() == ("", "at 4\nat 15\nat 26\n")
    assert asked == [4, 15, 26]  # and not where it is not shown


def test_what_stays_is_said_as_it_is_and_the_result_alone_on_stdout(capsys):
    said, given = "runs/[red]one[/red]: " + "long " * 40, "| [red]a[/red] |"
    with status.status_line() as shown:
        shown.say(said)
        shown.give(given)
    assert capsys.readouterr() == (given + "\n", said + "\n")


@pytest.mark.parametrize("begun", [0, 100])
def test_no_speed_is_told_of_the_iteration_that_compiles(capsys, monkeypatch, begun):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(monitor, "time", SimpleNamespace(monotonic=lambda: clock.now))
    line = monitor.ProgressLine(begun, 1000)
    for clock.now, frames, rate in ((200.0, 200, {}), (220.0, 400, {"rollout/success_rate": 0.5})):
        line.show([{"frames": frames} | rate], 1000)
    assert capsys.readouterr().out.splitlines() == [
        "200/1,000 frames · success –",
        "400/1,000 frames · 10/s · success 50 % · 0:01:00 left",
    ]


TERMINAL = """
import sys
from metarims.status import status_line
with status_line() as shown:
    shown.show(lambda: "far")
    shown.give("a row")
    shown.show(lambda: "farther")
    shown.give("another")
"""


def test_a_result_is_piped_away_while_the_progress_is_on_a_terminal():
    terminal, end = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL], stdout=subprocess.PIPE, stderr=end, text=True, cwd=ROOT
    )
    os.close(end)
    assert done.stdout == "a row\nanother\n"
    assert b"far" in os.read(terminal, 1 << 16)
    os.close(terminal)
