"""The command line: messages for bad input, and a short run from training to evaluation."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageSequence

from metarims.commands.base import make_env
from metarims.commands.train import in_words, told_how_to_resume
from metarims.config import EnvironmentConfig
from metarims.runs import load_run
from metarims.settings import replace_at
from metarims.stopping import Stopped
from metarims.studies.experiments import Arm, Experiment, Scale
from metarims.studies.jobs import workers
from metarims.training import Summary
from run import WIRING, main

from . import apart

ROOT = Path(__file__).parent.parent
EMPTY = "MiniGrid-Empty-5x5-v0"
DEMOS = ["demos", "--out", "x"]
TRAIN = ["train", "--env", EMPTY, "--agent", "lstm", "--device", "cpu"]
CAPTURED = [*TRAIN, "--capture"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a single iteration."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert main([*TRAIN, "--frames", "1", "--num-envs", "8", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def modular(tmp_path_factory):
    """A run of a single iteration of an agent with modules."""
    folder = tmp_path_factory.mktemp("runs") / "modular"
    args = ["--frames", "1", "--num-envs", "8", "--out", str(folder), "--agent", "metarims"]
    assert main([*TRAIN, *args]) == 0
    return folder


def complaint(capsys, *args):
    """The one-line message on stderr for these arguments."""
    capsys.readouterr()
    assert main(list(map(str, args))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("run.py: ")
    return lines[0]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["trian"], ["unknown command 'trian'", "train"]),
        ([], ["expected a command: levels, train, resume, evaluate"]),
        (["levels", "DorKey-5x5"], ["unknown level 'DorKey-5x5'", "MiniGrid-DoorKey-5x5-v0"]),
        (["levels", "zzz"], ["unknown level 'zzz'; nearest: "]),
        (["levels", "--al"], ["unknown setting --al", "nearest: "]),
        (["levels", "--impot", "x"], ["unknown setting --impot; nearest: --import"]),
        ([*TRAIN, "--lr", "1"], ["nearest: --fast.learning-rate, --slow.learning-rate"]),
        (
            [*TRAIN, "--slow.learning-rate", "0.5", "--out", "x"],
            ["--slow.learning-rate does nothing: lstm learns in one loop, --fast.*"],
        ),
        ([*TRAIN, "--frames", "1e5"], ["--frames: must be a whole number, got '1e5'"]),
        (
            [*TRAIN, "--eval.every", "9", "--out", "x"],
            ["--eval.every does nothing: there is no --eval.env"],
        ),
        (
            ["evaluate", "x", "--knock-out", "a"],
            ["--knock-out: must be a list of whole numbers, got ['a']"],
        ),
        ([*TRAIN, "--max-steps", "1e2"], ["--max-steps: must be a whole number, got '1e2'"]),
        (["resume", "x", "--frames", "1e6"], ["--frames: must be a whole number, got '1e6'"]),
        (["resume", "x", "--until", "all"], ["--until: must be a number, got 'all'"]),
        ([*TRAIN, "--ppo.clip", "x"], ["--ppo.clip: must be a number, got 'x'"]),
        ([*TRAIN, "--out", "x", "--device", "gpu"], ["device 'gpu' is unknown; choose cpu"]),
        ([*TRAIN, "--env", "My-Own-v0", "--out", "x"], ["(--import FILE loads more)"]),
        (["reproduce"], ["missing: NAME, --out"]),
        (["reproduce", "fig3", "--out", "x", "--episode", "1"], ["nearest: --episodes"]),
        (["reproduce", "fig3", "--out", "x", "--episodes", "0"], ["episodes must be positive"]),
        (["train", "--agent", "lstm", "--out", "x"], ["missing: --env"]),
        ([*TRAIN], ["missing: --out"]),
        ([*TRAIN, "--out", "x", "--fraems", "9"], ["unknown setting --fraems; nearest: --frames"]),
        ([*TRAIN, "--out", "x", "--frames", "many"], ["--frames", "'many'"]),
        ([*TRAIN, "--out", "x", "--frames", "-5"], ["frames must be positive, got -5"]),
        ([*TRAIN, "--out", "x", "--num-envs", "0"], ["num_envs must be positive, got 0"]),
        ([*TRAIN, "--out", "x", "--max-steps", "0"], ["max_steps must be positive, got 0"]),
        ([*TRAIN, "--out", "x", "--view", "4"], ["view must be odd, 3 to 31, got 4"]),
        (
            [*TRAIN, "--out", "x", "--view", "5", "--observation", "rgb"],
            ["view must be 7 in pixels, got 5"],
        ),
        (["bench", "agnets"], ["must be one of envs, agents, train, got 'agnets'"]),
        (["bench", "--rounds", "0"], ["rounds must be positive, got 0"]),
        (["bench", "--env", "MiniGrid-DoorKey-8x9-v0"], ["unknown level", "DoorKey-8x8"]),
        (["bench", "--json", "nowhere/at/all.json"], ["no folder nowhere/at"]),
        (["evaluate", "nothing-here"], ["no run at nothing-here"]),
        (["evaluate", "nothing-here", "--episodes", "0"], ["episodes must be positive, got 0"]),
        (["resume", "nothing-here"], ["no run at nothing-here"]),
        (["bench", "agents", "--rims-repo", "nowhere"], ["no RIM.py in nowhere"]),
        (["plot", "nothing-here", "--out", "figures"], ["no run at nothing-here"]),
        (["plot", "nothing-here", "--steps", "0", "--out", "figures"], ["steps must be positive"]),
        (["plot", "nothing-here"], ["missing: --out"]),
        (["plot", "--out", "figures"], ["missing: RUN, the folder of a run"]),
        (["compare"], ["missing: RUN, the folder of a run"]),
        (["transfer", "--env", EMPTY, "--out", "x"], ["missing: RUN, the folder of a run"]),
        (["evaluate", "nothing-here", "--episodes"], ["--episodes needs a value"]),
        (["evaluate"], ["missing: RUN"]),
        ([*TRAIN, "--out", "x", "--core", "rimz"], ["unknown core 'rimz'; nearest: rims"]),
        ([*TRAIN, "--out", "x", "--import", "no.py"], ["no.py: it is not a Python file"]),
        ([*TRAIN, "--env", EMPTY, EMPTY, "--out", "x"], [f"level {EMPTY} is given 2 times"]),
        ([*TRAIN, "--eval.env", EMPTY, EMPTY, "--out", "x"], [f"level {EMPTY} is given 2 times"]),
        (["transfer", "x", "--env", EMPTY, EMPTY, "--out", "x"], [f"level {EMPTY} is given 2"]),
        (["train", "--config", "nowhere.json"], ["nowhere.json"]),
        ([*TRAIN, "--config", "x.json"], ["leave out --agent"]),
        (["search", "--vary", "fast.epochz=1,2"], ["unknown setting 'fast.epochz'; nearest: "]),
        (["search", "--vary", "seed=1,2"], ["cannot vary seed: it gives each trial its own"]),
        (["search", "--vary", "pictures=1,2"], ["cannot vary pictures: it gives each trial its"]),
        (
            ["search", "--vary", "slow.epochs=1,2", "--agent", "lstm", "rims"],
            ["cannot vary slow.epochs: lstm, rims learn the same with any"],
        ),
        (
            ["search", "--vary", "fast.attention_rate=0.1,1", "--agent", "metarims"],
            ["cannot vary fast.attention_rate: metarims learn the same with any"],
        ),
        (["search", "--vary", "eval.every=1,2"], ["cannot vary eval.every: lstm, rims, metarims"]),
        (["search", "--vary", "fast.epochs=a..b"], ["the ends of a range must be numbers"]),
        (["search", "--vary", "fast.epochs=one,two"], ["fast.epochs must be of type int"]),
        (["search", "--vary", "fast.epochs"], ["expected PATH=LOW..HIGH or PATH=ONE,OTHER"]),
        (["search", "--vary", "ppo.entropy=1e-3..inf"], ["a range needs 0 < LOW < HIGH"]),
        (["search", "--seed", "-1"], ["seed must lie between 0 and 4294967295, got -1"]),
        (["evaluate", "nothing-here", "--seed", "9" * 20], ["seed must lie between 0 and"]),
        (["search", "--sampler", "tpf"], ["unknown sampler 'tpf'; nearest: tpe"]),
        ([*DEMOS, "MiniGrid-DoorKey-5x5-v0"], ["no instruction", "BabyAI-GoToLocal-v0"]),
        ([*DEMOS, "BabyAI-GoToLocl-v0"], ["BabyAI-GoToLocal-v0", "(--import FILE loads more)"]),
        ([*DEMOS, "BabyAI-GoToLocal-v0", "--episodes", "0"], ["episodes must be positive"]),
        ([*DEMOS, "BabyAI-GoToLocal-v0", "--observation", "rbg"], ["nearest: rgb"]),
        (["demos", "BabyAI-GoToLocal-v0"], ["missing: --out"]),
        (["train", "--imitate", "no/thing", "--out", "x"], ["no demonstrations at no/thing"]),
        ([*TRAIN, "--imitate", "no/thing", "--out", "x"], ["no demonstrations at no/thing"]),
        ([*TRAIN, "--algorithm", "clone", "--out", "x"], ["missing: --imitate"]),
        (
            [*TRAIN, "--imitate", "x", "--algorithm", "ppo", "--out", "x"],
            ["the algorithm ppo does not imitate"],
        ),
        ([*CAPTURED, "--out", "x"], ["--capture needs a GPU; training is the same without it"]),
        ([*CAPTURED, "--out", "x", "--seeds", "2"], ["--capture needs a GPU"]),
        (["bench", "train", "--device", "cpu", "--capture"], ["--capture needs a GPU"]),
        ([*TRAIN, "--device", "cpu", "--tf32", "--out", "x"], ["--tf32 needs a GPU"]),
        (["bench", "train", "--device", "cpu", "--tf32"], ["--tf32 needs a GPU"]),
        (["play"], ["missing: ENV"]),
        (["demos"], ["missing: ENV, --out"]),
        (["play", "fourrooms"], ["did you mean", "MiniGrid-FourRooms-v0"]),
        (["play", "foo"], ["unknown level 'foo'; did you mean MiniGrid-"]),
        (["play", EMPTY, "--no-window"], ["play needs a terminal or, on a display, "]),
        (["play", "MiniGrid-DorKey-5x5-v0"], ["unknown level", "MiniGrid-DoorKey-5x5-v0"]),
        (["play", EMPTY, "--seed", "-1"], ["seed must lie between 0"]),
        (["record", "nothing-here", "--out", "x.gif"], ["no run at nothing-here"]),
        (["record", "nothing-here", "--out", "nowhere/x.gif"], ["no folder nowhere"]),
        (["record", "x", "--out", "x.webm"], ["record x.webm: its name must end in .gif or .mp4"]),
        (["record", "x", "--out", "x"], ["cannot record x: its name must end in .gif or .mp4"]),
        (["record", "x", "--out", "x.gif", "--temperature", "-1"], ["temperature must lie"]),
    ],
)
def test_bad_input_gets_one_line(capsys, tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    line = complaint(capsys, *args)
    for part in said:
        assert part in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "given", "said"),
    [
        ("--env", "MiniGrid-DorKey-5x5-v0", ["unknown level", "MiniGrid-DoorKey-5x5-v0"]),
        ("--agent", "metarim", ["unknown agent 'metarim'", "metarims"]),
        ("--device", "cuda:7", ["device 'cuda:7' is not available; choose cpu"]),
        ("--device", "gpu", ["device 'gpu' is unknown; choose cpu"]),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_one(capsys, tmp_path, flag, given, said):
    out = tmp_path / "out"
    line = complaint(capsys, *TRAIN, "--out", out, flag, given)
    for part in said:
        assert part in line
    assert not out.exists()


def test_another_run_is_not_overwritten(capsys, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert "holds another run" in complaint(capsys, *TRAIN, "--out", trained)
    several = ["--seeds", "2", "--stacked", "no", "--out"]
    assert "holds another run" in complaint(capsys, *TRAIN, *several, trained)
    assert "is a file" in complaint(capsys, *TRAIN, *several, trained / "config.json")
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_another_file_of_a_run_is_no_configuration(capsys, trained, tmp_path):
    rows = tmp_path / "metrics.jsonl"
    one = (trained / "metrics.jsonl").read_text()
    for text, said in ((one, "does not hold a configuration"), (2 * one, "cannot be read as a")):
        rows.write_text(text)
        assert f"{rows} {said}" in complaint(capsys, "train", "--config", rows)
    line = complaint(capsys, "train", "--config", trained / "metrics.jsonl")
    assert line.endswith(f"configuration; nearest: {trained / 'config.json'}")
    line = complaint(capsys, "train", "--config", trained)
    assert line.endswith(f"no configuration file {trained}; nearest: {trained / 'config.json'}")


def test_an_argument_after_imported_files_is_put_before_them(capsys, trained):
    line = complaint(capsys, "evaluate", "--import", ROOT / "examples/toy_level.py", trained)
    assert line.endswith(f"it is not a Python file; put {trained} before --import")


def test_a_missing_run_gets_its_neighbours(capsys, trained):
    line = complaint(capsys, "evaluate", trained.with_name("frist"))
    assert str(trained) in line


@pytest.mark.parametrize("damage", ["configuration", "settings", "checkpoint"])
@pytest.mark.parametrize("command", ["evaluate", "resume"])
def test_a_damaged_run_is_named(capsys, trained, tmp_path, command, damage):
    folder = tmp_path / "damaged"
    subprocess.run(["cp", "-r", trained, folder], check=True)
    if damage == "configuration":
        (folder / "config.json").write_text('{"env": ["Mini')
    elif damage == "settings":
        (folder / "config.json").write_text('{"frames": 3, "options": {}}')
    else:
        for path in folder.rglob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:-9])
    assert str(folder) in complaint(capsys, command, folder)


def test_from_training_to_evaluation(capsys, trained, tmp_path):
    results = tmp_path / "results.json"
    other = "MiniGrid-Empty-6x6-v0"
    args = ["--episodes", "3", "--env", EMPTY, other, "--device", "cpu", "--json", str(results)]
    assert main(["evaluate", str(trained), *args]) == 0
    first, second = json.loads(results.read_text())
    assert set(first) == {
        "env", "episodes", "success_rate", "success_ci95", "mean_return", "mean_length"
    }  # fmt: skip
    assert (first["env"], second["env"], first["episodes"]) == (EMPTY, other, 3)
    low, high = first["success_ci95"]
    assert 0 <= low <= first["success_rate"] <= high <= 1
    assert other in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_episodes_are_cut_where_asked(tmp_path):
    args = ["--frames", "1", "--num-envs", "8", "--max-steps", "5", "--out", str(tmp_path / "cut")]
    assert main([*TRAIN, *args]) == 0
    last = json.loads((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["rollout/ep_len_mean"] <= 5


def test_an_evaluation_says_how_far_episodes_came(capsys, trained, tmp_path):
    results = tmp_path / "results.json"
    args = ["--episodes", "6", "--events", "--device", "cpu", "--json", str(results)]
    assert main(["evaluate", str(trained), *args]) == 0
    assert "  of those that succeeded: " in capsys.readouterr().out
    (report,) = json.loads(results.read_text(), parse_constant=pytest.fail)
    assert set(report["events"]) == {"failed", "succeeded"}
    shares = report["events"]["succeeded"]
    assert shares["facing the goal"] in (1.0, None)  # agents that reach it faced it before
    assert shares["facing a key"] in (0.0, None)


def test_an_evaluation_leaves_more_or_less_to_chance(capsys, trained, tmp_path):
    lengths = []
    for temperature, seed in ((0, 1), (0, 2), (1, 1), (1, 2)):
        results = tmp_path / f"{temperature}-{seed}.json"
        args = ["--episodes", "6", "--seed", str(seed), "--device", "cpu", "--json", str(results)]
        assert main(["evaluate", str(trained), *args, "--temperature", str(temperature)]) == 0
        lengths.append(json.loads(results.read_text())[0]["mean_length"])
    assert lengths[0] == lengths[1] != lengths[2]  # the same level both times
    assert lengths[2] != lengths[3]
    line = complaint(capsys, "evaluate", trained, "--temperature", "-1")
    assert "temperature must lie between 0 and inf, got -1" in line


def test_what_has_no_modules_has_none_to_knock_out(capsys, trained):
    line = complaint(capsys, "evaluate", trained, "--knock-out", "1")
    assert "agent 'lstm' has no modules to knock out" in line


def test_modules_are_knocked_out_drawn_and_one_by_one(modular, tmp_path):
    results = tmp_path / "results.json"
    args = ["--episodes", "4", "--knock-out", "2", "1", "--device", "cpu", "--json", str(results)]
    assert main(["evaluate", str(modular), *args]) == 0
    names = [report["knocked_out"] for report in json.loads(results.read_text())]
    assert names == ["", "2 off", *(f"module {j} off" for j in range(5)), "1 off"]


def test_more_modules_than_are_active_cannot_be_knocked_out(capsys, modular):
    line = complaint(capsys, "evaluate", modular, "--episodes", "4", "--knock-out", "4")
    assert "knock_out must lie between 0 and 3, got 4" in line


def test_runs_are_plotted(capsys, trained, modular, tmp_path):
    out = tmp_path / "figures"
    args = ["--out", str(out), "--steps", "40", "--device", "cpu"]
    assert main(["plot", str(trained), str(modular), *args]) == 0
    assert "difference" in capsys.readouterr().out
    names = sorted(path.name for path in out.rglob("*.*"))
    assert names.count("episodes.png") == 2
    assert {"curves.png", "events.png", "use.png", "modules.json"} <= {*names}
    assert "is a file" in complaint(capsys, "plot", trained, "--out", out / "curves.png")


def test_runs_are_compared(capsys, trained, modular, tmp_path):
    out = tmp_path / "rows.json"
    assert main(["compare", str(trained), str(modular), "--json", str(out)]) == 0
    assert "metarims" in capsys.readouterr().out
    rows = {row["agent"]: row for row in json.loads(out.read_text(), parse_constant=pytest.fail)}
    assert rows["lstm"]["dead"] is None
    assert 0 <= rows["metarims"]["dead"] <= 2
    assert rows["metarims"]["frames_to_target"] is None


def test_runs_that_are_put_together_and_should_not_be_are_named(capsys, trained, tmp_path):
    again, longer = tmp_path / "again", tmp_path / "longer"
    args = [*TRAIN, "--num-envs", "8", "--frames"]
    assert main([*args, "1", "--out", str(again)]) == 0
    assert main([*args, "700", "--out", str(longer), "--seed", "2"]) == 0
    capsys.readouterr()
    assert main(["compare", str(trained), str(again), str(longer)]) == 0
    said = capsys.readouterr().out
    assert f"lstm num_envs=8 on {EMPTY}: more than one run with seed 1" in said
    assert "runs of 1,280 frames and of 640 frames are grouped together" in said


def test_a_run_that_is_given_twice_counts_once(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.parent)
    out = tmp_path / "rows.json"
    assert main(["compare", trained.name, str(trained), ".", "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert row["seeds"] == 1


def test_a_run_that_has_nothing_left_to_do_says_so(capsys, trained):
    before = (trained / "metrics.jsonl").read_text()
    assert main(["resume", str(trained)]) == 0
    assert capsys.readouterr().out == (
        f"{trained}: 640 frames, already finished: --frames N trains further\n"
    )
    assert (trained / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("rate", "window", "episodes", "words"),
    [
        (0.18, 200, 300, "success rate 18.0 % of the last 200 episodes"),
        (1.0, 1, 3, "success rate 100.0 % of the last 1 episode"),
        (
            *(float("nan"), 0, 3),
            "no success rate yet: 3 episodes ended, but one that began as early goes on",
        ),
        (float("nan"), 0, 0, "no success rate yet: 0 episodes ended"),
    ],
)
def test_the_end_says_what_the_success_rate_is_of(rate, window, episodes, words):
    summary = Summary(1280, 12.3, rate, window, episodes, Path("run"))
    assert in_words(summary) == f"1,280 frames in 12 s, {words}"


def test_a_run_that_succeeds_goes_on_until_it_does_more_often(capsys, trained, tmp_path):
    folder = tmp_path / "run"
    subprocess.run(["cp", "-r", trained, folder], check=True)
    with (folder / "metrics.jsonl").open("a") as file:
        row = {"frames": 640, "rollout/window": 200, "rollout/success_rate": 0.5}
        file.write(json.dumps(row) + "\n")
    longer = ["resume", str(folder), "--frames", "641"]
    assert main([*longer, "--until", "0.4"]) == 0
    assert "already finished: --until 0.4 was reached" in capsys.readouterr().out
    assert main([*longer, "--until", "0.6"]) == 0
    assert "1,280 frames" in capsys.readouterr().out


def test_a_run_whose_last_checkpoint_is_damaged_goes_back_and_on(capsys, trained, tmp_path):
    folder = tmp_path / "run"
    subprocess.run(["cp", "-r", trained, folder], check=True)
    (folder / "checkpoints" / "000000000640" / "tensors.safetensors").write_bytes(b"")
    assert main(["resume", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "falling back to the one at 0 frames" in said
    assert "640 frames in" in said
    assert f"evaluate    python run.py evaluate {folder}  # " in said
    assert re.search(r"(success rate .* % of the last|no success rate yet:) [\d,]+ episode", said)
    assert "already finished" not in said


def test_levels_that_a_run_cannot_be_evaluated_on_are_named_before_it_trains(
    capsys, trained, tmp_path
):
    folder = tmp_path / "run"
    subprocess.run(["cp", "-r", trained, folder], check=True)
    settings = json.loads((folder / "config.json").read_text())
    settings["evaluation"]["env"] = ["My-Own-v0"]
    (folder / "config.json").write_text(json.dumps(settings))
    assert "unknown level 'My-Own-v0'" in complaint(capsys, "resume", folder, "--frames", "641")
    routed = [*TRAIN, "--agent", "routing", "--core.meta", "task", "--out", tmp_path / "routed"]
    line = complaint(capsys, *routed, "--num-envs", "8", "--eval.env", "MiniGrid-Empty-6x6-v0")
    assert "routing by task has no task" in line
    assert not (tmp_path / "routed").exists()


def test_who_is_stopped_is_told_what_goes_on(capsys, trained, tmp_path):
    flags = ["--device", "cpu", "--import", "my level.py"]
    planned = load_run(trained).config
    further = replace_at(planned, {"frames": 10_000})
    unbegun = replace_at(planned, {"out": str(tmp_path / "none")})
    for config in (further, planned, unbegun):
        with pytest.raises(Stopped), told_how_to_resume(config, 2, flags):
            raise Stopped(2)
    goes_on, finished, nothing = filter(None, capsys.readouterr().err.splitlines())
    own = "--ranks 2 --device cpu --import 'my level.py'"
    assert goes_on == f"stopped; resume with: python run.py resume {trained} {own}"
    assert finished == f"stopped; the run is finished: {trained}"
    assert nothing == "stopped; nothing has been written yet"
    with pytest.raises(Stopped), workers(1):
        raise Stopped(2)
    assert capsys.readouterr().err.strip() == "stopped; run the same command again to resume"


def test_modules_are_switched_off_where_there_are_any(capsys, tmp_path):
    levels = ["--env", EMPTY, "--episodes", "4", "--out", str(tmp_path / "out")]
    runs = [str(tmp_path / agent) for agent in ("lstm", "metarims")]
    for run in runs:
        small = ["--frames", "1", "--num-envs", "8", "--out", run]
        apart.succeed(*TRAIN, *small, "--agent", Path(run).name)
    line = complaint(capsys, "transfer", runs[0], "--knock-out", "1", *levels)
    assert "none of the runs has modules to knock out" in line
    assert not (tmp_path / "out").exists()
    assert main(["transfer", *runs, "--knock-out", "1", *levels]) == 0
    rows = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert [row.split(",")[6] for row in rows] == [
        *("knocked_out", "", "", "1 off"),
        *(f"module {j} off" for j in range(5)),
    ]


def test_runs_are_set_against_levels_and_not_evaluated_again(capsys, tmp_path):
    out, trained = tmp_path / "matrix", tmp_path / "run"
    apart.succeed(*TRAIN, "--frames", "1", "--out", trained)
    args = ["--env", EMPTY, "MiniGrid-Empty-6x6-v0", "--episodes", "4", "--out", str(out)]
    assert main(["transfer", str(trained), *args]) == 0
    assert f"1/1  {trained}: evaluated" in capsys.readouterr().err
    names = {path.name for path in out.iterdir()}
    assert names == {"evaluations", "scores.csv", "transfer.md", "transfer.png", "profiles.png"}
    assert len((out / "scores.csv").read_text().splitlines()) == 3
    assert main(["transfer", str(trained), *args]) == 0
    told, progress = capsys.readouterr()
    assert "evaluated" not in progress
    assert told == (out / "transfer.md").read_text() + "\n"  # and nothing before the table
    assert main(["transfer", str(trained), *args, "--temperature", "2"]) == 0
    assert f"1/1  {trained}: evaluated" in capsys.readouterr().err
    line = complaint(capsys, "transfer", trained, "--env", "MiniGrid-Emtpy-5x5-v0", "--out", out)
    assert "unknown level" in line


def test_an_experiment_is_reproduced_and_goes_on(capsys, tmp_path, monkeypatch):
    scale = {"small": Scale(1, 1)}
    arms = (Arm("lstm", {"num_envs": 4}), Arm("rims", {"num_envs": 4}))
    asked = Experiment("about", arms, (EMPTY,), scale, (EMPTY,), until=0.98)
    small = replace(asked, watched=True, paper="| 1 |")
    monkeypatch.setattr("run.WIRING", replace(WIRING, experiments={"one": small}))
    for _ in range(2):
        assert main(["reproduce", "one", "--episodes", "4", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("evaluated") == 2  # of two runs, once
    report = (tmp_path / "out" / "one" / "report.md").read_text()
    for part in (
        "# one: about",
        "lstm num_envs=4",
        "trained on",
        "The paper reports:",
        "| 1 |",
        "nats",
        "reproduce one --scale small --episodes 4 --seeds 1 --frames 1 --out FOLDER",
    ):
        assert part in report
    names = {path.name for path in (tmp_path / "out" / "one").iterdir()}
    assert {"curves.png", "transfer.png", "figures"} <= names
    assert (tmp_path / "out" / "runs" / "lstm num_envs=4" / EMPTY).is_dir()
    line = complaint(capsys, "reproduce", "two", "--out", tmp_path)
    assert "unknown experiment 'two'; nearest: one" in line
    line = complaint(capsys, "reproduce", "one", "--scale", "large", "--out", tmp_path)
    assert "unknown scale 'large'; nearest: small" in line


def test_levels_that_are_not_learnt_are_evaluated_and_drawn(capsys, tmp_path, monkeypatch):
    scale = {"small": Scale(1, 2, episodes=4)}
    arms = (Arm("lstm", {"num_envs": 4}),)
    along = Experiment("about", arms, (EMPTY,), scale, unseen=("MiniGrid-Empty-6x6-v0",))
    monkeypatch.setattr("run.WIRING", replace(WIRING, experiments={"along": along}))
    args = ["reproduce", "along", "--first-seed", "7", "--out", str(tmp_path / "out")]
    assert main(args) == 0
    report = (tmp_path / "out" / "along" / "report.md").read_text()
    assert f"MiniGrid-Empty-6x6-v0 while learning {EMPTY}" in report
    assert "reproduce along --scale small --first-seed 7 --seeds 2" in report
    assert (tmp_path / "out" / "along" / "unseen.png").exists()
    runs = [*(tmp_path / "out" / "runs" / "lstm num_envs=4" / f"{EMPTY} to its frames").iterdir()]
    assert {run.name for run in runs} == {"seed-7", "seed-8"}
    assert "grouped together" not in report
    assert main([*args, "--seeds", "1", "--frames", "600"]) == 0
    assert main(args) == 0  # one of its runs is longer now
    report = (tmp_path / "out" / "along" / "report.md").read_text()
    assert "runs of 320 frames and of 640 frames are grouped together.\n" in report
    assert main(["plot", *map(str, runs), "--out", str(tmp_path / "plot"), "--steps", "20"]) == 0
    assert (tmp_path / "plot" / "unseen.png").exists()
    capsys.readouterr()
    args = [*TRAIN, "--eval.env", "MiniGrid-Emtpy-6x6-v0", "--out", tmp_path / "none"]
    assert "did you mean MiniGrid-Empty-6x6-v0" in complaint(capsys, *args)
    assert "every must be" in complaint(capsys, *TRAIN, "--eval.every", 0)
    assert not (tmp_path / "none").exists()


def test_an_agent_is_recorded(capsys, modular, tmp_path):
    out = tmp_path / "a.gif"
    likeliest = ["--temperature", "0", "--checkpoint", "640"]
    assert main(["record", str(modular), "--out", str(out), "--frames", "7", *likeliest]) == 0
    with Image.open(out) as gif:
        assert len(list(ImageSequence.Iterator(gif))) <= 7
    assert re.search(f"a.gif: {EMPTY}, [0-7] episodes?, [0-7] succeeded", capsys.readouterr().out)


def test_an_agent_is_recorded_as_a_video(capsys, modular, tmp_path, monkeypatch):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    out = tmp_path / "a.mp4"
    assert main(["record", str(modular), "--out", str(out), "--frames", "3"]) == 0
    assert ffmpeg.count_frames_and_secs(str(out))[0] == 9
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    line = complaint(capsys, "record", modular, "--out", tmp_path / "b.mp4", "--frames", "3")
    assert "MP4 needs imageio's ffmpeg: pip install 'metarims[video]'" in line
    assert not (tmp_path / "b.mp4").exists()


def test_a_run_begins_by_saying_what_learns_where(capsys, tmp_path):
    args = [*TRAIN, "--frames", "1", "--num-envs", "8", "--agent", "metarims"]
    assert main([*args, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"agent +metarims, [\d,]+ parameters\n", said)
    assert re.search(r"\n  attention +[\d,]+  slow loop at 0.00039\n", said)
    assert re.search(r"\n  encoder +[\d,]+  fast loop at 0.0013\n", said)


def test_a_run_goes_on(capsys, trained):
    frames = 2 * int(json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])["frames"])
    assert main(["resume", str(trained), "--frames", str(frames)]) == 0
    assert f"{frames:,} frames" in capsys.readouterr().out


def test_a_gpu_that_is_named_is_made_the_current_one(monkeypatch):
    """Kernels run on the current one."""
    told: list[str] = []

    def make(ids: list[str], **given: Any) -> Any:
        told.append("made")

    monkeypatch.setattr("torch.cuda.set_device", told.append)
    for device in ("cpu", "cuda", "cuda:1"):
        make_env(make, EnvironmentConfig((EMPTY,), 2), device, 0)
    assert told == ["made", "made", "cuda:1", "made"]


def test_a_run_goes_on_on_another_device(capsys, trained, tmp_path):
    """A run captured in TF32 on a GPU continues on a machine without one."""
    folder = tmp_path / "run"
    subprocess.run(["cp", "-r", trained, folder], check=True)
    run = load_run(folder)
    there = replace_at(run.config, {"device": "cuda:7", "capture": True, "tf32": True})
    (folder / "config.json").write_text(json.dumps(there.as_json()))
    frames = 2 * int(run.last_metrics()["frames"])
    line = complaint(capsys, "resume", folder)
    assert "device 'cuda:7' is not available; choose cpu" in line
    assert line.endswith(" with --device")
    args = ["resume", str(folder), "--frames", str(frames), "--device", "cpu"]
    assert main(args) == 0
    assert run.last_metrics()["frames"] == frames


def test_levels_are_listed_by_part_or_pattern(capsys):
    assert main(["levels", "DoorKey"]) == 0
    listed = capsys.readouterr().out.split()
    assert "MiniGrid-DoorKey-5x5-v0" in listed
    assert all("DoorKey" in id for id in listed)
    assert main(["levels", "MiniGrid-*-5x5-v0"]) == 0
    assert "MiniGrid-DoorKey-5x5-v0" in capsys.readouterr().out.split()
    assert main(["levels", "goto-loc"]) == 0
    assert "BabyAI-GoToLocal-v0" in (listed := capsys.readouterr().out.split())
    assert all("GoToLocal" in id for id in listed)
    assert complaint(capsys, "levels", "zzz").count("-v0") == 3


def test_help_is_no_error(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert not end.value.code
    assert "--frames" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_as_a_program(encoding):
    """From the shell too: exit code 2 and no traceback, whatever the terminal's encoding."""
    done = subprocess.run(
        [sys.executable, "run.py", "bench", "agnets"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("run.py: what must be one of envs, agents, train, got 'agnets'")


SEARCH = ["search", "--agent", "lstm", "--env", EMPTY, "--frames", "5120", "--trials", "1"]


def test_a_search_trains_in_processes_of_their_own_and_goes_on(capsys, tmp_path):
    out = tmp_path / "search"
    args = [*SEARCH, "--finalists", "1", "--seeds", "1", "--out", str(out)]
    assert main(args) == 0
    first, progress = capsys.readouterr()
    assert re.search(r"^lstm 0  (–|0\.\d+)  defaults$", progress, re.M)
    assert first == (out / "report.md").read_text() + "\n"
    assert len((out / "trials.csv").read_text().splitlines()) == 2
    runs = sorted(path.parent for path in out.rglob("config.json"))
    assert [str(path.relative_to(out / "lstm" / "000")) for path in runs] == [
        f"{EMPTY}-1",
        f"{EMPTY}-2",
    ]
    before = [(path / "metrics.jsonl").read_text() for path in runs]
    assert main(args) == 0  # nothing left to do
    assert [(path / "metrics.jsonl").read_text() for path in runs] == before
    assert capsys.readouterr().out == (out / "report.md").read_text() + "\n"
    line = complaint(capsys, *args, "--frames", "9")
    assert "holds a search with other levels, frames, seed or settings" in line


def test_a_search_whose_run_fails_says_why(capsys, tmp_path):
    broken = tmp_path / "search" / "lstm" / "000" / f"{EMPTY}-1"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{")
    (broken / "metrics.jsonl").write_text("{}")
    line = complaint(capsys, *SEARCH, "--out", tmp_path / "search")
    assert "config.json cannot be read" in line


def test_seeds_are_runs_of_their_own_side_by_side_and_go_on(capsys, tmp_path, monkeypatch):
    out = tmp_path / "many"
    args = [*TRAIN, "--frames", "1", "--num-envs", "8", "--out", str(out), "--seeds", "2"]
    assert main(args) == 0
    assert "2/2 " in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["seed-1", "seed-2"]
    line = complaint(capsys, "resume", out)
    assert line.endswith(f"no run at {out}; it holds {out}/seed-1, {out}/seed-2")
    assert main(["compare", str(out)]) == 0
    assert EMPTY in (row := capsys.readouterr().out.splitlines()[-1])
    assert row.split()[2] == "2"  # seeds
    first, second = (out / f"seed-{seed}" / "metrics.jsonl" for seed in (1, 2))
    assert first.read_text() != second.read_text()
    alone = tmp_path / "alone"  # a fresh process, since other tests' levels add words
    apart.succeed(*args[:-4], "--seed", "2", "--out", alone)
    clock = {"time/fps", "time/time_elapsed"}
    rows = [json.loads((path / "metrics.jsonl").read_text()) for path in (alone, out / "seed-2")]
    assert {k: v for k, v in rows[0].items() if k not in clock} == {
        k: v for k, v in rows[1].items() if k not in clock
    }
    subprocess.run(["rm", "-r", out / "seed-2"], check=True)
    kept = first.read_text()
    assert main(args) == 0  # the first is finished
    assert first.read_text() == kept
    assert list((out / "seed-2" / "checkpoints").iterdir())
    line = complaint(capsys, *args, "--ppo.entropy", "0.5")
    assert line.endswith("seed-1 was started with other settings: ppo.entropy is 0.015 there")
    assert first.read_text() == kept
    line = complaint(capsys, *args, "--ranks", "2")
    assert "--seeds already uses all cores" in line
    line = complaint(capsys, *args, "--from", alone)
    assert line.endswith("seed-1 was started with other settings: from is nothing there")
    none = tmp_path / "none"
    line = complaint(capsys, *args[:-4], "--seeds", "3", "--from", out, "--out", none)
    assert line.endswith(f"no run at {out}; it holds {out}/seed-1, {out}/seed-2")
    assert not none.exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "leave out --ranks and torchrun" in complaint(capsys, *args)


@pytest.mark.parametrize("stacked", ["no", "yes"])
def test_seeds_that_have_lost_their_checkpoints_are_left_as_they_are(
    capsys, trained, tmp_path, stacked
):
    """Those that were never trained are made again, whatever lies beside their files."""
    lost, unbegun = tmp_path / "seed-1", tmp_path / "seed-2"
    for folder in (lost, unbegun):
        subprocess.run(["cp", "-r", trained, folder], check=True)
        subprocess.run(["rm", "-r", folder / "checkpoints"], check=True)
        (folder / "notes.txt").write_text("mine")
    (unbegun / "metrics.jsonl").unlink()
    config = load_run(unbegun).config
    (unbegun / "config.json").write_text(json.dumps(replace_at(config, {"seed": 2}).as_json()))
    args = [*TRAIN, "--frames", "1", "--num-envs", "8", "--stacked", stacked]
    several = [*args, "--seeds", "2", "--out", str(tmp_path)]
    before = {path: path.read_bytes() for path in lost.iterdir() if path.is_file()}
    assert main(several) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == f"run.py: {lost} has lost its checkpoints: move it away to train it again"
    assert before.items() <= {path: path.read_bytes() for path in lost.iterdir()}.items()
    lost.rename(tmp_path / "away")
    assert main(several) == 0
    assert load_run(unbegun).checkpoints()
    assert (unbegun / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("stacked", ["no", "yes"])
def test_seeds_begin_each_from_the_one_before(capsys, tmp_path, stacked):
    """A curriculum of many seeds; the frames that the harder level takes are reported beside."""
    easy, hard = tmp_path / "easy", tmp_path / "hard"
    args = [*TRAIN, "--num-envs", "8", "--fast.epochs", "1", "--seeds", "2", "--stacked", stacked]
    apart.succeed(*args, "--frames", "1", "--out", easy)
    apart.succeed("resume", easy / "seed-2", "--frames", "1000")
    frames = [load_run(easy / f"seed-{seed}").last_metrics()["frames"] for seed in (1, 2)]
    assert frames[0] < frames[1]
    later = [*args, "--frames", "1", "--env", "MiniGrid-Empty-6x6-v0"]
    apart.succeed(*later, "--from", easy, "--out", hard)
    for seed, before in zip((1, 2), frames, strict=True):
        run = load_run(hard / f"seed-{seed}")
        assert run.config.run.origin == str(easy / f"seed-{seed}")
        assert run.last_metrics()["time/frames_before"] == before
    assert main(["compare", str(easy), str(hard)]) == 0
    assert " | from MiniGrid-Empty-5x5-v0 | 0 of 2 | never |" in capsys.readouterr().out
    line = complaint(capsys, *later, "--from", easy, "--seed", "3", "--out", tmp_path / "other")
    assert line.endswith(f"no run at {easy}; it holds {easy}/seed-1, {easy}/seed-2")


def test_seeds_at_once_are_runs_of_their_own(capsys, tmp_path):
    out = tmp_path / "many"
    args = [*TRAIN, "--frames", "1", "--num-envs", "8", "--fast.epochs", "1", "--out", str(out)]
    args += ["--seeds", "2", "--stacked", "yes"]
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "LSTM by its definition" in said
    assert "2 at once, stacked" in said
    assert sorted(path.name for path in out.iterdir()) == ["seed-1", "seed-2"]
    assert main(["evaluate", str(out / "seed-2"), "--episodes", "8"]) == 0
    assert main(args) == 0
    said = capsys.readouterr().out
    assert all(f"seed-{seed}: 640 frames, already finished" in said for seed in (1, 2))
    line = complaint(capsys, *args, "--head", "8")
    assert "seed-1 was started with other settings: head is 64 there" in line
    other = tmp_path / "other"
    line = complaint(capsys, *args, "--agent", "routing", "--out", other)
    assert "agent 'routing' cannot be stacked: without --stacked the runs train in parallel" in line
    line = complaint(capsys, *args, "--stacked", "perhaps", "--out", other)
    assert "must be one of auto, yes, no, got 'perhaps'" in line
    assert not other.exists()


def test_a_reader_that_has_seen_enough_ends_the_output_without_a_word():
    command = f"{sys.executable} run.py levels"
    with subprocess.Popen(
        command.split(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
