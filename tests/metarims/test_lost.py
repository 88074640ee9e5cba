"""Damaged, missing or non-finite data are reported in one line; intact ones are resumed from."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from metarims.checkpoint import MANIFEST, best_checkpoint, checkpoints
from metarims.errors import UsageError
from metarims.runs import LOCK, load_run
from metarims.stopping import SERVED, Stopped, is_left_alone, serving
from metarims.training import Training, resume, train

from .probes import Contexts
from .small import agent_of, configured

ITERATION = 8 * 20


@pytest.fixture
def run(tmp_path):
    """A run of three iterations, each with a checkpoint."""
    out = tmp_path / "run"
    config = configured(
        "lstm", env=("level",), out=str(out), frames=3 * ITERATION, checkpoint_frames=1
    )
    train(config, Contexts(8), agent_of(config, 1))
    return load_run(out)


def go_on(run, env=None, iterations=4):
    """Resume a run; returns its agent."""
    agent = agent_of(run.config, 1)
    resume(run, env or Contexts(8), agent, frames=iterations * ITERATION)
    return agent


class Unreal(Contexts):
    """Its rewards are NaN from some step on."""

    left = 30

    def step(self, actions):
        step = super().step(actions)
        self.left -= 1
        return step if self.left > 0 else _with_reward(step, float("nan"))


def _with_reward(step, value):
    return type(step)(
        step.obs,
        torch.full_like(step.reward, value),
        step.terminated,
        step.truncated,
        step.task,
        step.final_obs,
    )


def test_a_run_begins_with_a_checkpoint_and_may_be_cut_off_before_it(run, capsys):
    whole = go_on(run)
    shutil.rmtree(run.path / "checkpoints")
    (run.path / "metrics.jsonl").unlink()
    again = go_on(run)
    assert "was cut off before its first checkpoint: starting again" in capsys.readouterr().out
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_run_may_be_cut_off_before_its_first_checkpoint_twice(run, monkeypatch):
    shutil.rmtree(run.path / "checkpoints")
    (run.path / "metrics.jsonl").unlink()
    with monkeypatch.context() as killed:
        killed.setattr(Training, "iterate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go_on(run)
    go_on(run)
    assert [row["frames"] for row in run.metrics()] == [ITERATION * n for n in (1, 2, 3, 4)]


def interrupted(training):
    raise KeyboardInterrupt


def test_what_was_once_trained_does_not_begin_again(run):
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(UsageError, match=r"no intact checkpoint .* \(there is none\)"):
        go_on(run)


def test_a_damaged_checkpoint_is_told_of(run, capsys):
    places = [run.path / "checkpoints" / name for name in checkpoints(run.path / "checkpoints")]
    manifest = json.loads((places[-1] / MANIFEST).read_text())
    manifest["numbers"]["frames"] += 1  # as a flipped bit may have it
    (places[-1] / MANIFEST).write_text(json.dumps(manifest))
    go_on(run)
    said = capsys.readouterr().out
    assert (
        f"manifest.json was changed or damaged; falling back to the one at {2 * ITERATION} frames"
        in said
    )


def test_lines_of_metrics_that_are_missing_are_counted(run, capsys):
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    (run.path / "metrics.jsonl").write_text(lines[0] + "\n" + lines[1].replace(":", ";", 1))
    go_on(run)
    assert "metrics.jsonl: 2 of 3 lines are lost" in capsys.readouterr().out
    assert [row["frames"] for row in run.metrics()] == [ITERATION, 4 * ITERATION]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("learning_rate", 0.0017, "joint.learning_rate|fast.learning_rate is 0.0017, but 0.0013"),
        ("hidden", 41, "core.hidden is 41, but 40 in the checkpoint"),
        ("seed", 3, "seed is 3, but 1 in the checkpoint"),
        ("format", 3, "made by another version of this package"),
    ],
)
def test_a_configuration_that_was_changed_is_refused(run, path, value, said):
    def change(content):
        for name, inner in content.items():
            if isinstance(inner, dict):
                change(inner)
            elif name == path:
                content[name] = value
        return content

    file = run.path / "config.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(UsageError, match=said):
        go_on(load_run(run.path))


def test_how_long_and_where_to_may_change(run):
    file = run.path / "config.json"
    content = json.loads(file.read_text())
    content["run"] |= {"frames": 10**6, "checkpoint_frames": 10**6, "out": "elsewhere"}
    file.write_text(json.dumps(content))
    go_on(load_run(run.path))


def test_what_a_killed_process_left_aside_goes(run):
    folder = run.path / "checkpoints"
    for left in (run.path / ".metrics.jsonl.1.aside", folder / ".000000000640.1.aside"):
        left.mkdir()
        (left / "half").write_text("x")
    shutil.copytree(folder / checkpoints(folder)[-1], folder / f"{1:012d}")
    with run.held():
        assert not list(run.path.rglob("*.aside"))
        kept = {*checkpoints(folder)[-2:], best_checkpoint(folder)} - {""}
        assert {*checkpoints(folder)} == kept
    assert (run.path / LOCK).exists()


def test_parameters_that_are_not_finite_are_not_kept(run):
    class Spoilt(Contexts):
        def step(self, actions):
            with torch.no_grad():
                next(agent.policy.parameters()).fill_(float("nan"))
            return super().step(actions)

    before = {path: path.read_bytes() for path in run.path.glob("checkpoints/*/*")}
    agent = agent_of(run.config, 1)
    with pytest.raises(
        UsageError, match=r"policy.* is not finite after 640 frames, so it was not saved"
    ):
        resume(run, Spoilt(8), agent, frames=9 * ITERATION)
    assert {path: path.read_bytes() for path in run.path.glob("checkpoints/*/*")} == before


def test_rewards_that_are_no_numbers_are_named(run):
    with pytest.raises(UsageError, match=r"for 3 iterations, starting with a rollout's rewards"):
        go_on(run, Unreal(8), iterations=99)
    go_on(run, iterations=9)


def test_a_long_iteration_is_kept_at_once(run, monkeypatch):
    monkeypatch.setattr("metarims.clock.LONG", 0.0)
    file = run.path / "config.json"
    content = json.loads(file.read_text())
    content["run"]["checkpoint_frames"] = 10**9
    file.write_text(json.dumps(content))
    go_on(load_run(run.path), iterations=5)
    saved = [int(name) for name in checkpoints(run.path / "checkpoints")]
    assert saved[-2:] == [4 * ITERATION, 5 * ITERATION]


def test_a_folder_that_cannot_be_written_to_is_named(run):
    (run.path / LOCK).unlink()
    (run.path / LOCK).mkdir()
    with pytest.raises(UsageError, match="cannot write to"):
        go_on(run)


def test_who_serves_notices_when_it_is_left_alone(run, monkeypatch):
    assert not is_left_alone()
    ask = "from metarims.stopping import is_left_alone; print(is_left_alone())"
    told = [sys.executable, "-c", ask]
    assert subprocess.check_output(told, env=serving(), text=True).strip() == "False"
    monkeypatch.setenv(SERVED, str(os.getpid()))
    with pytest.raises(Stopped):
        go_on(run, iterations=99)
    assert int(checkpoints(run.path / "checkpoints")[-1]) == 4 * ITERATION
