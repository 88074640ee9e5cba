"""Progress messages when the output is not a terminal."""

from types import SimpleNamespace

import pytest

from metarims import monitor, status


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
    assert capsys.readouterr().out.split("\n") == ["at 4", "at 15", "at 26", ""]
    assert asked == [4, 15, 26]  # and not where it is not shown


def test_what_stays_is_said_as_it_is(capsys):
    said = "runs/[red]one[/red]: " + "long " * 40
    with status.status_line() as shown:
        shown.say(said)
    assert capsys.readouterr().out == said + "\n"


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
