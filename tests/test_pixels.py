"""Agents on pixels, from the command line to a run's files and back."""

import json

import pytest
import torch

import envs
from metarims.config import RunConfig, find_preset
from metarims.errors import UsageError
from metarims.losses import log_prob_of
from metarims.rollout import begin, collect_rollout
from metarims.settings import replace_at
from run import main

from .test_run import complaint

EMPTY, DOORKEY = "MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-5x5-v0"
TRAIN = ["train", "--env", EMPTY, "--agent", "lstm", "--device", "cpu", "--num-envs", "4"]
RGB = ["--observation", "rgb"]


def trained(folder, *changes):
    """The folder of a run, trained with some settings changed."""
    assert main([*TRAIN, "--frames", "1", "--out", str(folder), *changes]) == 0
    return folder


def rows(run):
    """The rows of metrics.jsonl without times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clock = ("time/fps", "time/time_elapsed")
    return [{name: row[name] for name in row if name not in clock} for row in lines]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a single iteration on pixels."""
    return trained(tmp_path_factory.mktemp("runs") / "first", *RGB)


@pytest.mark.parametrize("preset", ["lstm", "metarims", "routing"])
def test_the_ratio_is_one_before_an_update(preset):
    env = envs.make(DOORKEY, 8, observation="rgb")
    agent = find_preset(preset).agent.make(env, 1)
    generator = torch.Generator().manual_seed(1)
    rollout, _ = collect_rollout(env, agent, begin(env, agent, 1), 20, 20, generator)
    state = tuple(x[0] for x in rollout.states)
    logits = agent(rollout.obs, state, rollout.starts).logits.log_softmax(-1)
    assert rollout.obs["image"].dtype == torch.uint8
    torch.testing.assert_close(log_prob_of(logits, rollout.actions), rollout.log_probs)


def test_a_run_says_what_its_agent_sees(run):
    content = json.loads((run / "config.json").read_text())
    assert content["environment"]["observation"] == "rgb"
    assert RunConfig.from_json(content).environment.observation == "rgb"
    del content["environment"]["observation"]  # as in older runs
    assert RunConfig.from_json(content).environment.observation == "symbolic"


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    halves, whole = trained(tmp_path / "halves", *RGB), tmp_path / "whole"
    frames = str(2 * int(rows(halves)[0]["frames"]))
    assert main(["resume", str(halves), "--frames", frames]) == 0
    trained(whole, *RGB, "--frames", frames)
    assert rows(halves) == rows(whole)


def test_what_becomes_of_a_run(run, tmp_path):
    """A run can be evaluated, on another level too, plotted and recorded."""
    results, figures, gif = tmp_path / "a.json", tmp_path / "figures", tmp_path / "a.gif"
    levels = ["--env", EMPTY, DOORKEY]
    assert main(["evaluate", str(run), "--episodes", "4", "--json", str(results), *levels]) == 0
    assert [report["episodes"] for report in json.loads(results.read_text())] == [4, 4]
    assert main(["plot", str(run), "--steps", "40", "--out", str(figures)]) == 0
    assert list(figures.rglob("episodes.png"))
    assert main(["record", str(run), "--frames", "5", "--out", str(gif)]) == 0
    assert gif.exists()


def test_parameters_are_those_of_an_agent_that_sees_the_same(capsys, run, tmp_path):
    trained(tmp_path / "later", *RGB, "--from", str(run))
    line = complaint(capsys, *TRAIN, "--from", run, "--out", tmp_path / "other")
    assert f"{run} has another agent: observation is rgb there, symbolic here" in line
    assert not (tmp_path / "other").exists()


def test_an_unknown_observation_gets_the_nearest(capsys, tmp_path):
    out = tmp_path / "out"
    line = complaint(capsys, *TRAIN, "--observation", "rbg", "--out", out)
    assert "unknown observation 'rbg'; nearest: rgb" in line
    line = complaint(capsys, "reproduce", "fig3", "--observation", "full", "--out", out)
    assert "unknown observation 'full'" in line
    assert not out.exists()


def test_an_experiment_s_runs_on_pixels_have_folders_of_their_own(capsys, tmp_path, monkeypatch):
    found = []

    def keep(program, imported, jobs, configs):
        found.append(configs)
        raise UsageError("enough")

    monkeypatch.setattr("metarims.commands.reproduce.train_all", keep)
    for more in ([], RGB):
        assert "enough" in complaint(capsys, "reproduce", "table1", *more, "--out", tmp_path)
    plain, pixels = found
    assert {config.environment.observation for config in plain} == {"symbolic"}
    assert not {config.run.out for config in plain} & {config.run.out for config in pixels}
    for one, other in zip(plain, pixels, strict=True):
        assert replace_at(one, {"observation": "rgb", "out": other.run.out}) == other
