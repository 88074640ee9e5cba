"""Progress messages when the output is not a terminal."""

from types import SimpleNamespace

from metarims import status


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
