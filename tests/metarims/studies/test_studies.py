"""Comparisons of runs written by hand."""

import itertools
import math
import shutil
from pathlib import Path

import pytest

import agents.presets  # noqa: F401  # runs name them
from metarims.commands.plot import names_apart
from metarims.config import find_preset
from metarims.errors import UsageError, note
from metarims.runs import find_run
from metarims.settings import replace_at
from metarims.studies.compare import (
    compare,
    comparison_markdown,
    comparison_table,
    note_differences,
    start_of,
)
from metarims.studies.curves import read_curve

from ..small import create_run


def make_run(path, success, agent="lstm", seed=1, before=0, **settings):
    """A run with a point every 100 frames and 300 episodes, after some frames of another run."""
    preset = {"env": ("Level-v0",), "out": str(path), "seed": seed}
    run = create_run(replace_at(find_preset(agent), preset | settings))
    for n, rate in enumerate(success, 1):
        row = {"frames": 100 * n, "rollout/episodes": 300 * n, "rollout/success_rate": rate}
        row |= {"rollout/window": 200, "time/frames_before": before}
        if agent == "rims":
            row |= {"modules/dead": 2 * seed, "modules/information": rate / 4}
        run.write_metrics(row)
    return run


def test_the_newest_whole_line_of_metrics(tmp_path):
    run = make_run(tmp_path / "a", [])
    assert run.last_metrics() == {}
    for n in range(3000):
        run.write_metrics({"frames": n, "a figure of some length": 1 / 3})
    assert run.last_metrics()["frames"] == 2999
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 30')
    assert run.last_metrics()["frames"] == 2999


def test_where_a_run_started_from_back_to_the_first(tmp_path):
    """Runs that went on from different ones are not the same agent's runs with other seeds."""
    first = make_run(tmp_path / "first", [1.0], env=("A-v0",))
    other = make_run(tmp_path / "other", [1.0], env=("A-v0",), **{"ppo.entropy": 0.5})
    second = make_run(tmp_path / "second", [1.0], env=("B-v0",), **{"from": str(first.path)})
    for run, expected in (
        (first, ""),
        (second, "from A-v0"),
        (make_run(tmp_path / "c", [1.0], **{"from": str(second.path)}), "from B-v0 from A-v0"),
        (
            make_run(tmp_path / "d", [1.0], **{"from": str(other.path)}),
            "from A-v0 (ppo.entropy=0.5)",
        ),
        (
            make_run(tmp_path / "e", [1.0], **{"from": str(second.path), "ppo.entropy": 0.5}),
            "from B-v0 (defaults) from A-v0",
        ),
        (
            make_run(tmp_path / "f", [1.0], **{"from": str(tmp_path / "g")}),
            f"from another run ({tmp_path}/g)",
        ),
    ):
        assert start_of(run) == expected
    shutil.rmtree(first.path)
    first = make_run(tmp_path / "first", [1.0], env=("A-v0",), **{"from": str(second.path)})
    assert start_of(second) == f"from A-v0 from another run ({second.path})"


def test_runs_that_started_from_others_that_are_gone_stay_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in itertools.product(("one", "other"), (1, 2)):
        make_run(tmp_path / name / f"seed-{seed}", [1.0], seed=seed)
    runs = [
        make_run(tmp_path / f"{name}-{seed}", [1.0], seed=seed, **{"from": f"{name}/seed-{seed}"})
        for name, seed in itertools.product(("one", "other"), (1, 2))
    ]
    (runs[0].path / "checkpoints" / f"{100:012}").mkdir(parents=True)
    assert find_run(replace_at(runs[0].config, {"from": "one/seed-1"}))  # asked for as before
    with pytest.raises(UsageError, match=r"from is .*one/seed-1 there"):
        find_run(replace_at(runs[0].config, {"from": "other/seed-1"}))
    monkeypatch.chdir("/")
    assert [start_of(run) for run in runs] == 4 * ["from Level-v0"]
    for name in ("one", "other"):
        shutil.rmtree(tmp_path / name)
    rows = compare(runs)
    assert {(row.settings, row.seeds) for row in rows} == {
        (f"from another run ({tmp_path / name})", 2) for name in ("one", "other")
    }


def test_figures_of_several_runs_have_folders_apart(tmp_path):
    one = make_run(tmp_path / "lstm" / "Level" / "seed-1", [1.0])
    other = make_run(tmp_path / "rims" / "Level" / "seed-1", [1.0])
    assert names_apart([one, other]) == [Path("lstm/Level/seed-1"), Path("rims/Level/seed-1")]
    assert names_apart([one]) == [Path("seed-1")]


def test_curve_by_hand(tmp_path):
    curve = read_curve(make_run(tmp_path / "a", [0.5, 1.0]))
    assert curve.area() == pytest.approx((0.25 + 0.75) / 2)  # two trapezoids from 0
    assert curve.area(150) == pytest.approx((0.25 + (0.5 + 0.75) / 4) / 1.5)
    assert curve.final == 1.0
    assert (curve.frames_to_target, curve.episodes_to_target) == (200, 600)
    assert math.isinf(read_curve(make_run(tmp_path / "b", [0.5])).frames_to_target)


@pytest.mark.parametrize(
    ("elapsed", "counted"),
    [
        ([30.0, 32.0, 35.0], [0, 2, 4, 7]),  # the first compiles
        ([1.0, 3.0, 5.0], [0, 1, 3, 5]),
        ([30.0], [0, 30]),
    ],
)
def test_seconds_are_counted_without_compilation(tmp_path, elapsed, counted):
    run = make_run(tmp_path / "a", [])
    for n, seconds in enumerate(elapsed, 1):
        run.write_metrics({"frames": 100 * n, "time/time_elapsed": seconds})
    assert read_curve(run).seconds.tolist() == counted


def test_the_target_is_reached_by_200_episodes(tmp_path):
    run = make_run(tmp_path / "a", [])
    row = {"frames": 10, "rollout/episodes": 3, "rollout/window": 3, "rollout/success_rate": 1.0}
    run.write_metrics({"frames": 5})  # no episode counts yet
    run.write_metrics(row)
    curve = read_curve(run)
    assert curve.success.tolist() == [0.0, 0.0, 1.0]
    assert math.isinf(curve.frames_to_target)


def test_a_run_that_has_learnt_what_it_was_to_be_trained_until(tmp_path):
    curve = read_curve(make_run(tmp_path / "a", [0.5, 0.9], until=0.9, frames=1000))
    assert curve.learnt
    assert curve.area() == pytest.approx((0.25 + 0.7 + 8 * 0.9) / 10)  # it goes on as it ended
    assert not read_curve(make_run(tmp_path / "b", [0.5, 0.8], until=0.9)).learnt
    assert not read_curve(make_run(tmp_path / "c", [0.5, 1.0])).learnt


def test_a_run_without_iterations_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no finished iteration"):
        read_curve(make_run(tmp_path / "a", []))


def test_runs_are_grouped_by_settings_and_sorted(tmp_path):
    runs = [make_run(tmp_path / f"l{s}", [0.2, 0.4], seed=s) for s in range(4)]
    runs += [
        make_run(tmp_path / f"r{s}", [1.0, 1.0], "rims", seed=s, **{"ppo.clip": 0.1})
        for s in range(2)
    ]
    best, other = compare(runs)
    assert (best.agent, best.seeds, best.settings) == ("rims", 2, "ppo.clip=0.1")
    assert best.frames_to_target == 100
    assert (other.agent, other.seeds, other.final) == ("lstm", 4, 0.4)
    assert other.final_ci95 == pytest.approx((0.4, 0.4))
    assert (best.dead, best.information) == (1, 0.25)
    assert math.isnan(other.dead)
    over, _, first, _ = comparison_table([best, other]).splitlines()
    assert first.endswith("ppo.clip=0.1")
    assert over.endswith("all runs of a level have: the first 200.")
    assert over in comparison_markdown([best, other])
    longer = compare([*runs, make_run(tmp_path / "longer", [0.1] * 3, env=("Other-v0",))])
    over, *_ = comparison_table(longer).splitlines()
    assert over.endswith("have: the first 200 of Level-v0, the first 300 of Other-v0.")


def test_runs_that_have_learnt_go_on_as_far_as_the_others(tmp_path):
    until = {"until": 0.9, "frames": 300}
    learnt = make_run(tmp_path / "a", [0.9], **until)
    later = make_run(tmp_path / "b", [0.5, 0.9], "rims", **until | {"frames": 500})
    assert [row.frames for row in compare([learnt, later])] == [500, 500]
    missed = make_run(tmp_path / "c", [0.5] * 4, "rims", seed=2, **until | {"frames": 400})
    best, other = compare([learnt, later, missed])
    assert best.area == pytest.approx((0.45 + 3 * 0.9) / 4)
    assert (best.frames, other.frames, other.seeds) == (400, 400, 2)


def test_columns_of_a_comparison_are_as_wide_as_what_they_hold(tmp_path):
    runs = [
        make_run(tmp_path / "a", [0.5], env=("MiniGrid-DoorKey-5x5-v0", "BabyAI-GoToObj-v0")),
        make_run(tmp_path / "b", [0.5], env=("Level-v0",)),
    ]
    _, head, *rows = comparison_table(compare(runs)).splitlines()
    at = head.index("agent")
    assert [row[at - 2 : at + 4] for row in rows] == ["  lstm", "  lstm"]
    end = head.index("mean success") + len("mean success")
    assert [row[end - 5 : end] for row in rows] == ["0.250", "0.250"]


def test_what_is_not_measured_yet_is_no_number(tmp_path):
    """Nor is a run's success over fewer frames than it took until an episode counted."""
    late, none = make_run(tmp_path / "late", []), make_run(tmp_path / "none", [], "rims")
    for run, rates in ((late, [{}, {}, {"rollout/success_rate": 0.5}]), (none, [{}])):
        for n, rate in enumerate(rates, 1):
            run.write_metrics({"frames": 100 * n, "rollout/episodes": n} | rate)
    known, unknown = compare([late, none])
    assert (known.frames, known.final) == (100, 0.5)
    assert all(map(math.isnan, (known.area, unknown.area, unknown.final)))
    *_, cells = comparison_markdown([known, unknown]).splitlines()
    assert cells.startswith("| Level-v0 | rims | 1 | – (–) | – (–) |")
    (alone,) = compare([late])
    assert alone.area == pytest.approx(0.25 / 3)


def noted(capsys, runs):
    note.cache_clear()
    note_differences(runs)
    return capsys.readouterr().out


def test_agents_that_were_trained_for_different_lengths_are_noted(tmp_path, capsys):
    until = {"until": 0.9, "frames": 1000}
    short, long = make_run(tmp_path / "a", [0.5]), make_run(tmp_path / "b", [0.5] * 3, "rims")
    learnt = make_run(tmp_path / "c", [0.5, 0.9], "metarims", **until)
    missed = make_run(tmp_path / "d", [0.5] * 10, "metarims", seed=2, **until)
    other = make_run(tmp_path / "e", [0.5] * 2, "rims", env=("Other-v0",))
    said = "Level-v0: agents were trained for different lengths, from 100 to 300 frames"
    assert said in noted(capsys, [short, long, learnt, other])
    assert "from 100 to 1,000 frames" in noted(capsys, [short, missed])
    assert noted(capsys, [short, learnt, other]) == ""
