"""The GPU's launcher without a GPU: the source of its kernels, run thread by thread, against the
CPU's launcher.

This tests what only the launcher does: which thread takes which environment, which ones begin anew,
what is kept of the previous episode. What the kernels call is compiled for the CPU.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import envs
from envs import cpu
from envs.record import RECORD, view_records

gpu = pytest.importorskip("envs.gpu")

STEPS, NUM_ENVS = 30, 5


class Threads:
    """Stand-in for the part of Numba's `cuda` that the kernels use: the index of the thread."""

    def __init__(self) -> None:
        self.now = 0

    def grid(self, dimensions: int) -> int:
        """The index of the running thread."""
        assert dimensions == 1
        return self.now


class Records:
    """The batch's records, where indexing gives the index."""

    def __init__(self, memory, count, size):
        self.all = cpu.as_records(memory, count, size)

    def __getitem__(self, i):
        return self.all, int(i)


def advance_one(write_view, rules):
    kernel = cpu.make_advance(write_view, rules)

    def advance(record, action, i, *arrays):
        records, own = record
        actions = np.full(len(records), action)
        assert own == i
        kernel(i, i + 1, records, actions, *arrays)

    return advance


def regenerate(generate):
    kernel = cpu.make_renew(generate)
    return lambda record, params: kernel(0, 1, record[0], params, np.array([record[1]]))


def observe_one(write_view, settled):
    kernel = cpu.make_observe(write_view, settled)
    return lambda record, i, *arrays: kernel(0, 1, record[0], np.array([i]), *arrays)


def run_as_threads(monkeypatch):
    """Make batches use the GPU's launcher on the CPU's memory, its kernels a loop of threads.

    A thread runs the kernel's source, which calls the CPU's kernel for one environment.
    """
    threads = Threads()

    def launch(kernel, count, *arrays):
        for threads.now in range((count + gpu.THREADS - 1) // gpu.THREADS * gpu.THREADS):
            kernel(count, *arrays)

    names = ("find_ended", "copy_rows", "copy", "check_actions", "make_memory")
    launcher = SimpleNamespace(
        **{name: getattr(gpu, name) for name in names},
        as_array=cpu.as_array,
        as_records=Records,
        launch=launch,
        make_advance=gpu.advance_source.__wrapped__,
        make_renew=gpu.renew_source.__wrapped__,
        make_observe=gpu.observe_source.__wrapped__,
        make_paint=gpu.paint_source,
    )
    monkeypatch.setattr(gpu, "cuda", threads)
    monkeypatch.setattr(gpu, "make_advance_one", advance_one)
    monkeypatch.setattr(gpu, "make_regenerate", regenerate)
    monkeypatch.setattr(gpu, "make_observe_one", observe_one)
    monkeypatch.setattr("envs.batch.find_launcher", lambda device: launcher)


def trajectory(level, **options):
    """All outputs of a batch under random actions, with episodes that end every few steps."""
    env = envs.make(level, num_envs=NUM_ENVS, seed=3, **options)
    random = np.random.default_rng(0)
    seen = [*env.reset().values()]
    for _ in range(STEPS):
        env.state = nearly_over(env.state, random)
        step = env.step(torch.from_numpy(random.integers(0, 7, NUM_ENVS)))
        seen += [*step.obs.values(), *step.final_obs.values()]
        seen += [step.reward, step.terminated, step.truncated]
    return [*seen, env.state]


def nearly_over(state, random):
    """The state, changed so that the next step ends two environments' episodes."""
    memory = np.append(state.numpy(), np.zeros(RECORD.itemsize, np.uint8))
    records = view_records(memory, *state.shape)
    chosen = random.choice(NUM_ENVS, 2, replace=False)
    records["steps"][chosen] = records["max_steps"][chosen] - 1
    return torch.from_numpy(memory[: state.numel()]).view(state.shape)


def differences(ours, theirs):
    return [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if not torch.equal(a, b)]


@pytest.mark.parametrize("level", envs.levels())
def test_threads_step_every_level_as_the_cpu_does(level, monkeypatch):
    theirs = trajectory(level)
    run_as_threads(monkeypatch)
    assert not differences(trajectory(level), theirs)


@pytest.mark.parametrize("options", [{"observation": "rgb"}, {"observation": "full"}, {"view": 5}])
def test_threads_observe_mixtures_as_the_cpu_does(options, monkeypatch):
    mixture = [
        "MiniGrid-DoorKey-5x5-v0",
        "BabyAI-GoToLocal-v0",
        "MiniGrid-Dynamic-Obstacles-5x5-v0",
    ]
    theirs = trajectory(mixture, **options)
    run_as_threads(monkeypatch)
    assert not differences(trajectory(mixture, **options), theirs)


def test_a_wrong_index_is_seen(monkeypatch):
    level = "BabyAI-GoToLocal-v0"
    theirs = trajectory(level)

    def shifted(ends, everyone):
        return everyone, torch.where(ends.any(0).roll(1), everyone, -1)

    monkeypatch.setattr(gpu, "find_ended", shifted)
    run_as_threads(monkeypatch)
    assert differences(trajectory(level), theirs)
