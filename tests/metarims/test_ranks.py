"""Ranks: together they learn what one rank would, and their runs can be resumed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.multiprocessing.spawn import spawn

from metarims import ranks
from metarims.algorithms.ppo import PPO
from metarims.errors import UsageError
from metarims.learner import Learner
from metarims.rollout import begin
from metarims.runs import load_run
from metarims.studies.launch import free_port

from .. import apart
from ..test_run import complaint
from .probes import Contexts
from .small import agent_of, configured, make_agent

ROOT = Path(__file__).parent.parent.parent
EMPTY = "MiniGrid-Empty-5x5-v0"
SPANS = ["--steps", "20", "--fast.span", "20", "--slow.span", "20"]
SMALL = ["--num-envs", "8", "--device", "cpu", *SPANS]
MOST = 0.01  # the maximum of the gradient's norm
PARTS = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, -3.0]])  # of one tensor, a rank's each


def learnt(rank=0, of=1):
    """A step of Adam on the PPO loss of a rank's part of one batch: moments and parameters, the KL
    and the gradient's norm, which exceeds the maximum.
    """
    torch.set_num_threads(1)
    agent, env, loops = make_agent("rims", seed=3), Contexts(8), configured("rims").loops
    learner = Learner(agent, loops, PPO(max_grad_norm=MOST), 1, env.device)
    alone = ranks.size
    ranks.size = lambda: 1
    learner.generator.manual_seed(1)
    rollout, _ = learner._sample_trajectories(env, begin(env, agent, 1))
    batch = learner._sequences(rollout, loops.fast)
    ranks.size = alone
    rows = torch.arange(len(batch.task)).chunk(of)[rank]
    with torch.no_grad():  # the policy has moved since it acted
        agent.policy[-1].bias += torch.tensor([0.1, -0.1])
    batch = batch.take(rows)
    learner._release(loops.fast)
    figures = learner._learn(loops.fast, batch)
    moments = learner.optimizer.moments()
    found = {name: parameter.detach() for name, parameter in agent.named_parameters()}
    found |= {f"{name}.mean": moments[p]["exp_avg"] for name, p in agent.named_parameters()}
    return found | {name: figures[name].reshape(1) for name in ("approx_kl", "gradient_norm")}


def in_a_rank(rank, of, port, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(of), "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    ranks.join("cpu")
    tensors = {name: tensor.contiguous() for name, tensor in learnt(rank, of).items()}
    tensors |= {f"gathered{i}": x for i, x in enumerate(ranks.gather(torch.arange(rank + 1)))}
    for kind, x in (("empty", torch.zeros(rank + 1, 3, 0)), ("flags", torch.ones(2, 3) > rank)):
        tensors |= {f"{kind}{i}": found for i, found in enumerate(ranks.gather(x))}
    tensors["moments"] = torch.stack(ranks.moments(PARTS[rank]))
    averaged = torch.tensor([rank, 0.1])
    ranks.average([averaged])
    save_file(tensors | {"averaged": averaged}, f"{folder}/{rank}.safetensors")
    ranks.exit_with(0)


def test_two_ranks_learn_what_one_does_from_the_joint_batch(tmp_path):
    spawn(in_a_rank, (2, free_port(), str(tmp_path)), 2)
    found = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    for name, expected in learnt().items():
        torch.testing.assert_close(found[0][name], expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(found[0][name], found[1][name]), name
    assert found[0]["gradient_norm"] > 2 * MOST
    assert found[1]["gathered0"].tolist() == [0]
    assert found[0]["gathered1"].tolist() == [0, 1]
    assert [found[0][f"empty{i}"].shape for i in range(2)] == [(1, 3, 0), (2, 3, 0)]
    assert [found[1][f"flags{i}"].sum() for i in range(2)] == [6, 0]
    joint = torch.stack([PARTS.mean(), PARTS.std()])
    torch.testing.assert_close(found[0]["moments"], joint)
    assert torch.equal(found[0]["moments"], found[1]["moments"])
    assert found[0]["averaged"].tolist() == pytest.approx([0.5, 0.1])
    assert found[0]["averaged"][1] == torch.tensor(0.1)  # to the bit


def test_ranks_draw_numbers_of_their_own(monkeypatch):
    def first(rank, seed=1):
        monkeypatch.setattr(ranks, "rank", lambda: rank)
        return float(torch.rand(1, generator=ranks.own_generator(torch.device("cpu"), seed)))

    assert len({first(rank) for rank in range(8)} | {first(0, 2), first(1, 2)}) == 10
    assert first(0) == float(torch.rand(1, generator=torch.Generator().manual_seed(1)))


def test_one_rank_changes_nothing():
    x = torch.randn(5)
    assert ranks.mean(x) is x
    assert ranks.gather(x) == [x]
    mean, deviation = ranks.moments(x)
    assert (mean, deviation) == (x.mean(), x.std())


def train(out, *flags, agent="metarims", frames=4 * 8 * 20):
    given = ["--env", EMPTY, "--agent", agent, "--frames", frames, "--out", out, *SMALL, *flags]
    return apart.run("train", *given)


def rows(out):
    clock = ("time/fps", "time/time_elapsed")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name not in clock} for row in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two ranks, uninterrupted."""
    out = tmp_path_factory.mktemp("ranks") / "whole"
    done = train(out, "--ranks", "2")
    assert done.returncode == 0, done.stderr
    assert "640 frames" in done.stdout
    return out


def test_a_resumed_run_of_two_ranks_equals_the_uninterrupted_one(whole, capsys, tmp_path):
    halves = tmp_path / "halves"
    assert train(halves, "--ranks", "2", frames=320).returncode == 0
    line = complaint(capsys, "resume", halves, "--frames", "640")
    assert line == "run.py: the run has 2 ranks: resume it with --ranks 2"
    apart.succeed("resume", halves, "--frames", "640", "--ranks", "2")
    assert rows(whole) == rows(halves)
    assert [row["frames"] for row in rows(whole)] == [160, 320, 480, 640]


def test_torchrun_starts_the_same_ranks(whole, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    given = ["--env", EMPTY, "--agent", "metarims", "--frames", "640", *SMALL]
    command = [*torchrun, "run.py", "train", *given, "--out", str(tmp_path / "theirs")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert rows(whole) == rows(tmp_path / "theirs")


def test_what_one_rank_refuses_is_told_in_one_line(tmp_path):
    uneven = train(tmp_path / "run", "--ranks", "2", "--num-envs", "7")
    assert uneven.returncode == 2
    assert uneven.stderr == "run.py: num_envs must be a multiple of the 2 parts, got 7\n"
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("preset", "setting", "reason"),
    [
        ("metarims", {"fast__per_task": True}, "per_task needs a single rank"),
        ("routing", {"core__router__maker": "em"}, "this agent needs a single rank"),
    ],
)
def test_what_ranks_cannot_share_is_refused(monkeypatch, preset, setting, reason):
    monkeypatch.setattr(ranks, "size", lambda: 2)
    config = configured(preset, **setting)
    with pytest.raises(UsageError, match=reason):
        Learner(agent_of(config), config.loops, config.algorithm, 1, torch.device("cpu"))


def test_a_rank_that_dies_ends_the_run_with_one_line(tmp_path):
    out = tmp_path / "run"
    given = ["--env", EMPTY, "--frames", "10000000", "--checkpoint-frames", "320", *SMALL]
    command = [sys.executable, "run.py", "train", *given, "--out", str(out), "--ranks", "2"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), 9)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert len(errors.splitlines()) == 1, errors
    assert load_run(out).load().numbers["ranks"] == 2
