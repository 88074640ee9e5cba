"""Replays of captured iterations equal plain iterations, bit for bit.

In place of a GPU, which captures a graph, a tape records PyTorch's operations and the environments'
kernels and repeats them on the same memory; reading a value back is refused.
"""

import sys
from contextlib import contextmanager
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import envs
from agents.kernels.compiling import definitions
from envs import cpu
from metarims.config import RunSettings
from metarims.errors import UsageError
from metarims.graphs import WARM, Captured, iterating
from metarims.learner import Learner
from metarims.rollout import begin
from metarims.runs import load_run
from metarims.seeds import Member, train_stacked
from metarims.settings import replace_at
from metarims.stacked import StackedLearner
from metarims.training import train

from .probes import Contexts
from .small import agent_of, configured

LEVELS = ["BabyAI-GoToObj-v0", "BabyAI-PickupLoc-v0"]  # missions of many lengths
AFTER = 2  # replays
READS = ("_local_scalar_dense", "nonzero", "_unique2", "masked_select", "equal")


class Tape(TorchDispatchMode):
    """Captures on a CPU: runs the work once to record it, and undoes it."""

    def __init__(self):
        super().__init__()
        self.notes, self.replays = [], 0
        self.written = []  # tensors that kernels write
        self.made, self.kept = set(), []

    def aside(self, work):
        return work()

    def capture(self, work, generators):
        for tensor in self.written:
            self.keep(tensor)
        drawn = [(generator, generator.get_state()) for generator in generators]
        with told_by_an_error_of_its_own(), self:
            made = work()
        with below_autograd():
            for tensor, before in reversed(self.kept):
                tensor.copy_(before)
        for generator, state in drawn:
            generator.set_state(state)
        return made, self.replay

    def replay(self):
        self.replays += 1
        with below_autograd():
            for note in self.notes:
                note()

    def __torch_dispatch__(self, operation, types, given=(), named=None):
        named, schema = named or {}, operation._schema
        if operation.overloadpacket.__name__ in READS:
            raise RuntimeError(f"a number is read by {operation}\nand so on")
        if schema.is_mutable:
            for tensor in tree_leaves((given, named)):
                self.keep(tensor)
        made = operation(*given, **named)
        if not schema.is_mutable and any(result.alias_info for result in schema.returns):
            return made  # views
        self.made |= {storage_of(x) for x in tree_leaves(made) if isinstance(x, torch.Tensor)}
        if "empty" not in schema.name:
            self.notes.append(lambda: self.again(operation, given, named, made))
        return made

    def keep(self, tensor):
        """Save a tensor's content from before the work, to undo it."""
        if isinstance(tensor, torch.Tensor) and storage_of(tensor) not in self.made:
            self.kept.append((tensor, tensor.detach().clone()))

    def again(self, operation, given, named, made):
        anew = operation(*given, **named)
        if not operation._schema.is_mutable:
            for before, now in zip(tree_leaves(made), tree_leaves(anew), strict=True):
                if isinstance(before, torch.Tensor):
                    before.copy_(now)

    def launch(self, kernel, count, *arrays):
        """Run a kernel on the CPU, whose kernels do not skip -1: drop these first."""

        def work():
            chosen = [a[a >= 0] if is_chosen(a) else a for a in arrays]
            cpu.launch(kernel, next((len(a) for a in chosen if is_chosen(a)), count), *chosen)

        work()
        if torch.utils._python_dispatch._get_current_dispatch_mode() is self:
            self.notes.append(work)


def storage_of(tensor):
    return tensor.untyped_storage()._cdata


def below_autograd():
    return torch._C._AutoDispatchBelowAutograd()


def one_hot(x, classes):
    return (x.unsqueeze(-1) == torch.arange(classes)).long()


def is_chosen(array):
    return isinstance(array, np.ndarray) and array.dtype == np.int64


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    """Agents by their definitions and stand-ins for what would read values back, as on a GPU."""
    monkeypatch.setattr("torch.nn.functional.one_hot", one_hot)
    monkeypatch.setattr("metarims.rollout.counts_rows", lambda device, runs: False)
    with definitions():
        yield


class Kept(Contexts):
    """Keeps its state in the same memory."""

    def step(self, actions):
        kept = self.state
        step = super().step(actions)
        self.state = kept.copy_(self.state)
        return step


def settings(preset, **changes):
    few = {"fast__epochs": 1, "fast__minibatches": 2, "slow__epochs": 1, "slow__minibatches": 2}
    own = {"num_envs": 4, "ppo__novelty": 0.01, "ppo__anneal_frames": 2000}
    return configured(preset, **few, **own, **changes)


def learner_of(config, env, seed=1, encoder=True):
    agent = config.agent.make(env, seed) if encoder else agent_of(config, seed)
    return Learner(agent, config.loops, config.algorithm, seed, env.device)


def probe(preset, tape):
    """A run on a probe."""
    env = Kept(4)
    return learner_of(settings(preset), env, encoder=False), env


def stack(preset, tape):
    """Two runs at once, on levels with missions and short episodes."""
    gpu = pytest.importorskip("envs.gpu")
    env = envs.make(2 * LEVELS, num_envs=8, max_steps=7)
    shared = {name: getattr(gpu, name) for name in ("find_ended", "copy_rows", "copy")}
    env._launcher = SimpleNamespace(**{**vars(cpu), **shared, "launch": tape.launch})
    tape.written = [env._memory, env._mission]
    config = settings(preset)
    return StackedLearner([learner_of(config, env, seed) for seed in (1, 2)], env.device), env


def learnt(make, preset, capture):
    """The state after some iterations: of the learner, its environments and the last figures."""
    tape = Tape()
    learner, env = make(preset, tape)
    iterate = Captured(learner, tape).iterate if capture else learner.iterate
    cursor = begin(env, learner.agent, 1, curious=True)
    for _ in range(WARM + AFTER):
        iteration, cursor = iterate(env, cursor)
    assert tape.replays == (AFTER if capture else 0)
    rollouts = [vars(rollout) for rollout in iteration.rollouts]
    return {
        "parameters": dict(learner.agent.named_parameters()),
        "frames": learner.frames,
        "drawn": [generator.get_state() for generator in learner.generators],
        "state": env.state,
        "cursor": {field.name: getattr(cursor, field.name) for field in fields(cursor)},
        "iteration": [rollouts, iteration.figures, iteration.updates],
    }


def assert_same(made, preset):
    one, other = (learnt(made, preset, capture) for capture in (False, True))
    for name, own in one.items():
        pairs = zip(tree_leaves(own), tree_leaves(other[name]), strict=True)
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs), name


@pytest.mark.parametrize("preset", ["lstm", "metarims", "metaflip", "random", "fixed", "routing"])
def test_replays_are_what_iterations_are(preset):
    assert_same(probe, preset)


@pytest.mark.parametrize("preset", ["lstm", "metarims"])
def test_replays_of_stacked_runs_are_what_iterations_are(preset):
    assert_same(stack, preset)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_a_captured_run_leaves_what_another_does(seeds, tmp_path, monkeypatch):
    """Checkpoints and metrics, of one run and of two at once."""

    def taped(learner, run, device):
        return Captured(learner, Tape()).iterate if run.capture else learner.iterate

    for module in ("training", "seeds"):
        monkeypatch.setattr(f"metarims.{module}.iterating", taped)
    plain, captured = (left_by(seeds, tmp_path / str(way), way) for way in (False, True))
    assert plain == captured


def left_by(seeds, folder, capture):
    """What runs of these iterations, or replays, on a probe leave."""
    base = settings("lstm", env=("probe-0",), frames=(WARM + AFTER) * 4 * 20, capture=capture)
    told = [{"seed": seed, "out": str(folder / str(seed))} for seed in seeds]
    configs = [replace_at(base, own | {"checkpoint_frames": 1}) for own in told]
    members = [Member(each, Kept(4), agent_of(each, each.run.seed)) for each in configs]
    if len(seeds) > 1:
        train_stacked(members, Kept(4 * len(seeds)))
    else:
        train(configs[0], members[0].env, members[0].agent)
    runs = [load_run(folder / str(seed)) for seed in seeds]
    clock = ("time/fps", "time/time_elapsed")
    rows = [
        {name: row[name] for name in row if name not in clock} for r in runs for row in r.metrics()
    ]
    kept = [run.load() for run in runs]
    tensors = [{name: x.tolist() for name, x in each.tensors.items()} for each in kept]
    return rows, tensors, [each.numbers | {"seconds": 0} for each in kept]


@contextmanager
def told_by_an_error_of_its_own():
    """Raise the error that PyTorch's graphs raise if work in them fails."""
    try:
        yield
    finally:
        if sys.exc_info()[0]:
            raise RuntimeError("operation failed due to a previous error during capture")


def test_a_replay_goes_on_from_any_cursor():
    tape = Tape()
    learner, env = probe("lstm", tape)
    iterate = Captured(learner, tape).iterate
    cursor = begin(env, learner.agent, 1)
    for _ in range(WARM + 1):
        _, cursor = iterate(env, cursor)
    elsewhere = replace(cursor, starts=~cursor.starts)
    iteration, _ = iterate(env, elsewhere)
    assert torch.equal(iteration.rollouts[0].starts[0], elsewhere.starts)


def test_a_number_that_is_read_cannot_be_captured():
    tape = Tape()
    learner, env = probe("lstm", tape)
    forward = learner.agent.encoder.forward
    learner.agent.encoder.forward = lambda *given: (forward(*given), learner.frames.item())[0]
    iterate = Captured(learner, tape).iterate
    cursor = begin(env, learner.agent, 1)
    for _ in range(WARM):
        _, cursor = iterate(env, cursor)
    with pytest.raises(
        UsageError, match=r"cannot be captured \(a number is read by .*\); training is the same"
    ):
        iterate(env, cursor)


def test_products_are_single_precision_but_in_iterations_that_are_to_be_in_tf32():
    learner, env = probe("lstm", Tape())
    now, found, forward = torch.get_float32_matmul_precision, set(), learner.agent.encoder.forward

    def noted(*given):
        found.add(now())
        return forward(*given)

    learner.agent.encoder.forward = noted
    iterate = iterating(learner, RunSettings(tf32=True), torch.device("cuda"))
    iterate(env, begin(env, learner.agent, 1))
    assert found == {"high"}
    assert now() == "highest"


def test_what_is_not_captured_is_told(monkeypatch):
    learner, _ = probe("lstm", Tape())
    cpu, gpu, captured = torch.device("cpu"), torch.device("cuda"), RunSettings(capture=True)
    assert iterating(learner, RunSettings(), cpu) == learner.iterate
    with pytest.raises(UsageError, match="--capture needs a GPU; training is the same without it"):
        iterating(learner, captured, cpu)
    with pytest.raises(UsageError, match="--tf32 needs a GPU; without it training is in single"):
        iterating(learner, RunSettings(tf32=True), cpu)
    learner.loops = replace(learner.loops, fast=replace(learner.loops.fast, per_task=True))
    with pytest.raises(UsageError, match="per_task cannot be captured"):
        iterating(learner, captured, gpu)
    learner.teacher = object()
    with pytest.raises(UsageError, match="imitation cannot be captured"):
        iterating(learner, captured, gpu)
    monkeypatch.setattr("metarims.ranks.size", lambda: 2)
    with pytest.raises(UsageError, match="several ranks"):
        iterating(learner, captured, gpu)
