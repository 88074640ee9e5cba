"""A stopped run keeps its iteration; one process at a time trains a run; an orphan ends."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from metarims.checkpoint import BEST, Checkpoint, checkpoints, load_checkpoint, save_checkpoint
from metarims.errors import UsageError
from metarims.memory import ran_out_of_memory
from metarims.runs import load_run
from metarims.stopping import Stopped, hearing, noting
from metarims.training import LOST, resume, train

from .probes import Contexts
from .small import agent_of, configured

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "run.py", "train", "--env", "MiniGrid-Empty-5x5-v0", "--agent", "lstm"]


class Telling(Contexts):
    """An environment in which a signal arrives at some step."""

    at = 5

    def step(self, actions):
        self.at -= 1
        if self.at == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(actions)


def tell(number):
    """Send this process a signal, and wait until it can arrive."""
    os.kill(os.getpid(), number)
    time.sleep(1)


def run_config(tmp_path, **changes):
    return configured("lstm", env=("level",), out=str(tmp_path / "run"), frames=1000, **changes)


def test_the_first_signal_is_noted_and_the_second_one_comes_through():
    before = signal.getsignal(signal.SIGINT)
    with noting() as told:
        os.kill(os.getpid(), signal.SIGINT)
        assert told.number == signal.SIGINT
        with pytest.raises(Stopped) as stopped:
            tell(signal.SIGTERM)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    with hearing(), pytest.raises(Stopped):
        tell(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


class Deaf:
    """Swallows exceptions, as a compiler's callback does."""

    def __del__(self) -> None:
        tell(signal.SIGTERM)


def test_a_stop_that_nobody_hears_comes_again():
    def lose_it() -> None:
        Deaf()
        time.sleep(5)

    with hearing(), pytest.raises(Stopped) as stopped:
        lose_it()
    assert stopped.value.number == signal.SIGTERM


def test_work_that_does_not_come_to_an_end_is_ended(monkeypatch):
    monkeypatch.setattr("metarims.stopping.GRACE", 0.2)
    begun = time.monotonic()
    with noting() as told:
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.number == signal.SIGTERM
        with pytest.raises(Stopped):
            time.sleep(5)
    assert time.monotonic() - begun < 4
    with noting() as told:
        os.kill(os.getpid(), signal.SIGTERM)
        told.is_in_time()
        time.sleep(0.5)


def test_who_is_told_to_stop_keeps_the_iteration_and_goes_on_to_the_bit(tmp_path):
    config = run_config(tmp_path)
    whole = agent_of(config, 1)
    train(run_config(tmp_path / "whole"), Contexts(8), whole)
    with pytest.raises(Stopped):
        train(config, Telling(8), agent_of(config, 1))
    run = load_run(tmp_path / "run")
    (row,) = run.metrics()
    saved = [int(name) for name in checkpoints(run.path / "checkpoints")]
    assert saved == [0, row["frames"]]
    again = agent_of(config, 1)
    resume(run, Contexts(8), again)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_run_that_is_being_trained_is_not_trained_twice(tmp_path):
    config = run_config(tmp_path)
    train(config, Contexts(8), agent_of(config, 1))
    run = load_run(tmp_path / "run")
    with run.held(), pytest.raises(UsageError, match="is being trained by another process"):
        resume(run, Contexts(8), agent_of(config, 1), frames=2000)
    resume(run, Contexts(8), agent_of(config, 1), frames=2000)


def test_without_a_finite_gradient_a_run_gives_up_with_its_parameters_as_they_were(tmp_path):
    config = run_config(tmp_path)
    agent = agent_of(config, 1)
    before = [parameter.detach().clone() for parameter in agent.parameters()]
    for parameter in agent.value.parameters():
        parameter.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(UsageError, match=r"no gradient was finite for 3 iterations"):
        train(config, Contexts(8), agent)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.parameters(), strict=True))
    rows = list(load_run(tmp_path / "run").metrics())
    assert [row["train/nonfinite"] for row in rows] == [1.0] * LOST


def test_the_best_checkpoint_is_the_first_of_those_that_succeed_most(tmp_path):
    for frames, rate in ((100, 0.2), (200, 0.9), (300, 0.9), (400, 0.5)):
        tensors = {"x": torch.tensor([float(frames)])}
        save_checkpoint(tmp_path, frames, Checkpoint(tensors, {"success_rate": rate}))
    assert [int(name) for name in checkpoints(tmp_path)] == [200, 300, 400]
    assert load_checkpoint(tmp_path, BEST).tensors["x"] == 200
    assert load_checkpoint(tmp_path, "300").tensors["x"] == 300
    assert load_checkpoint(tmp_path).tensors["x"] == 400
    with pytest.raises(UsageError, match=r"no checkpoint '7' in .*; there are 200, 300, 400, best"):
        load_checkpoint(tmp_path, "7")


def test_a_run_without_a_best_checkpoint_says_what_one_needs(tmp_path):
    save_checkpoint(tmp_path, 100, Checkpoint({"x": torch.zeros(1)}, {"success_rate": 0.0}))
    with pytest.raises(UsageError, match=r"'best' in .*, which needs a success in 200 episodes"):
        load_checkpoint(tmp_path, BEST)


def test_metrics_with_a_flipped_bit_are_read_as_far_as_they_are_whole(tmp_path):
    config = run_config(tmp_path)
    train(config, Contexts(8), agent_of(config, 1))
    run = load_run(tmp_path / "run")
    rows = list(run.metrics())
    path = run.path / "metrics.jsonl"
    data = bytearray(path.read_bytes())
    data[len(data) - 9] ^= 0x80
    path.write_bytes(data)
    assert list(run.metrics()) == rows[:-1]
    path.write_bytes(b'{"framez": 1}\n3\n' + b"[" * 99999 + b"\n" + path.read_bytes())
    assert list(run.metrics()) == rows[:-1]


def test_memory_that_is_not_there_is_told_from_other_errors():
    assert ran_out_of_memory(MemoryError())
    assert ran_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert ran_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes"))
    assert not ran_out_of_memory(RuntimeError("expected scalar type Float"))


def test_sigterm_leaves_a_checkpoint_and_a_code_that_says_so(tmp_path):
    out = tmp_path / "run"
    command = [*COMMAND, "--frames", "10000000", "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=-3, stderr=subprocess.PIPE, text=True) as run:
        while not (out / "metrics.jsonl").exists():
            time.sleep(0.1)
        told = time.monotonic()
        run.terminate()
        assert run.stderr is not None
        said = next(line for line in run.stderr if line.startswith("stopped"))
        assert time.monotonic() - told < 60  # ten seconds on an idle machine
    assert run.returncode == 128 + signal.SIGTERM
    assert f"resume with: python run.py resume {out}" in said
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert int(checkpoints(out / "checkpoints")[-1]) == last["frames"]


@pytest.mark.parametrize("most", [600, 60_000])
def test_files_that_may_not_grow_end_a_run_with_one_line(tmp_path, most):
    out = tmp_path / "run"
    ended = subprocess.run(
        [*COMMAND, "--frames", "40000", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("run.py: cannot write")
