"""Acting, learning and evaluating on a GPU never synchronise, tested without one: all tensors are
on the right device, and nothing is read back before the end.

PyTorch's fake tensors have shape, type and device, and refuse operations that need values. A device
of PyTorch's for backends written in Python stands in for the GPU.
"""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorDeviceMismatchError,
    FakeTensorMode,
)
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import envs
from metarims.diagnostics import diagnose
from metarims.evaluation import evaluate
from metarims.learner import Learner
from metarims.optimizer import GroupedAdam
from metarims.rollout import begin
from metarims.stacked import StackedLearner, each_run

from .metarims.small import PRESETS, configured

gpu = pytest.importorskip("envs.gpu")

GPU = torch.device("privateuseone")
NONE = cast(torch.Generator, None)  # generators cannot be fake
LEVELS = ["BabyAI-GoToObj-v0", "BabyAI-PickupLoc-v0"]


@pytest.fixture(scope="session", autouse=True)
def _python_backend():
    """Once per process: a worker may get the tests of a module in parts."""
    _setup_privateuseone_for_python_backend()
    own = torch.library.Library("aten", "IMPL")  # PyTorch has it for rates that are numbers
    own.impl("_fused_adam_.tensor_lr", lambda *tensors, **settings: None, "Meta")
    yield
    own._destroy()


def on_the_gpu(tensor):
    """A fake tensor like this one, on the GPU."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)


def fake_environments(env):
    """The batch with fake memory and kernels that do nothing."""

    def as_array(tensor):
        assert tensor.device.type == GPU.type

    env.device = GPU
    for name in ("task", "_memory", "_mission", "_shown", "_everyone"):
        setattr(env, name, on_the_gpu(getattr(env, name)))
    env._rows = env._memory[: env.num_envs * env._bytes].view(env.num_envs, env._bytes)
    shared = ("find_ended", "copy_rows", "copy", "check_actions", "make_memory")
    env._launcher = SimpleNamespace(
        **{name: getattr(gpu, name) for name in shared},
        as_array=as_array,
        launch=lambda *arguments: None,
    )
    env.reset = lambda seed=None: type(env).reset(env)  # streams are seeded on the host
    return env


def fake_agent(agent):
    """The agent with fake parameters and buffers."""
    for module in agent.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(on_the_gpu(parameter)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, on_the_gpu(buffer))
    return agent


def small(preset):
    """The preset with short spans and few updates."""
    few = {"fast__epochs": 1, "fast__minibatches": 2, "slow__epochs": 1, "slow__minibatches": 2}
    return configured(preset, fast__span=2, slow__span=4, steps=4, **few)


def make(preset, levels=LEVELS):
    """Real environments and the real agent of a preset."""
    env = envs.make(levels, num_envs=8)
    env.reset()
    return env, small(preset).agent.make(env, 1)


def iterate(env, agent, preset, monkeypatch):
    """An iteration of learning with fake tensors; PyTorch's gradients are replaced by fake ones."""
    config = small(preset)
    env, agent = fake_environments(env), fake_agent(agent)
    stand_in_for_gradients(agent, monkeypatch)
    learner = Learner(agent, config.loops, config.algorithm, 1, torch.device("cpu"))
    learner.generator, learner.frames = NONE, on_the_gpu(learner.frames)
    return learner.iterate(env, begin(env, agent, curious=True))[0]


def stand_in_for_gradients(agent, monkeypatch):
    """Make `backward` give every trainable parameter a fake gradient."""

    def backward(loss):
        assert loss.device.type == GPU.type
        assert loss.grad_fn is not None
        for parameter in agent.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)


def stacked(env, preset):
    """A real learner of two runs at once."""
    config, cpu = small(preset), torch.device("cpu")
    agents = [config.agent.make(env, seed) for seed in (1, 2)]
    own = [Learner(agent, config.loops, config.algorithm, 1, cpu) for agent in agents]
    return StackedLearner(own, cpu)


def iterate_stacked(env, learner, monkeypatch):
    """As `iterate`, for several runs at once."""
    for each in learner.learners:
        fake_agent(each.agent)
        each.generator = NONE
    env, agent = fake_environments(env), fake_agent(learner.agent)
    learner.resting, learner.frames = on_the_gpu(learner.resting), on_the_gpu(learner.frames)
    learner.optimizer = GroupedAdam(agent.groups(), agent.runs)
    stand_in_for_gradients(agent, monkeypatch)
    return learner.iterate(env, begin(env, agent, curious=True))[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_an_iteration_reads_nothing_back(preset, monkeypatch):
    env, agent = make(preset)
    with FakeTensorMode():
        iteration = iterate(env, agent, preset, monkeypatch)
        figures = [*iteration.figures.values(), diagnose(iteration.rollouts[-1])]
    assert {figure.device.type for row in figures for figure in row.values()} == {GPU.type}


@pytest.fixture
def fused(monkeypatch):
    """Use fused spans, with kernels that do nothing; the names of those launched."""
    pytest.importorskip("triton")
    launched = []

    def launch(kernel, batch, runs, memory, sizes, **constants):
        assert batch % runs == 0
        assert {(each.device.type, each.is_contiguous()) for each in memory} == {(GPU.type, True)}
        launched.append(kernel.__name__)

    monkeypatch.setattr("agents.kernels.compiling.FUSED_ON", GPU.type)
    for module in ("agents.kernels.fused_lstm", "agents.cores.rims.fused.span"):
        monkeypatch.setattr(import_module(module), "launch", launch)
    return launched


@pytest.mark.parametrize("preset", ["lstm", "metarims", "dense", "random"])
def test_an_iteration_with_fused_spans_reads_nothing_back(preset, fused, monkeypatch):
    env, agent = make(preset)
    with FakeTensorMode():
        iteration = iterate(env, agent, preset, monkeypatch)
    assert "fused" in agent.form
    assert iteration.figures
    assert set(fused) == {"forward"}  # the backward pass is replaced
    steps = 4 + 2  # plus the last step's outcome, and all final observations at once
    updates = 2 if preset == "lstm" else 2 + 2 + 2  # the slow loop first re-evaluates the rollout
    assert len(fused) == 2 * (steps + updates)  # missions are read by a fused span too


@pytest.mark.parametrize("preset", ["lstm", "metarims", "random"])
def test_the_way_back_of_fused_spans_reads_nothing_back(preset, fused):
    """The backward pass is called directly: PyTorch has no streams for the stand-in device."""
    _, agent = make(preset)
    with FakeTensorMode():
        core = fake_agent(agent).core
        x = torch.empty(4, 3, 16, device=GPU, requires_grad=True)
        starts = torch.empty(4, 3, dtype=torch.bool, device=GPU)
        output = core(x, core.initial_state(3), starts, {})
        node = output.features.grad_fn
        if not hasattr(node, "saved_tensors"):  # RIMs concatenate their modules' features
            node = node.next_functions[0][0]
        outputs = output.features.view(4, 3, *output.state[0].shape[1:])
        span = import_module(type(node)._forward_cls.__module__)._Span
        gradients = span.backward(node, torch.empty_like(outputs[0]), torch.empty_like(outputs))
    assert fused == ["forward", "backward"]
    assert {each.device.type for each in gradients if each is not None} == {GPU.type}


@pytest.mark.parametrize("preset", ["lstm", "metarims", "random"])
def test_an_iteration_of_stacked_runs_with_fused_spans_reads_nothing_back(
    preset, fused, monkeypatch
):
    env, _ = make(preset)
    learner = stacked(env, preset)
    assert "definition" in learner.agent.form  # on a CPU
    with FakeTensorMode():
        assert iterate_stacked(env, learner, monkeypatch).figures
    assert "fused" in learner.agent.form
    assert set(fused) == {"forward"}


@pytest.mark.parametrize("preset", ["lstm", "metarims"])
def test_an_iteration_of_stacked_runs_reads_nothing_back(preset, monkeypatch):
    env, _ = make(preset)
    learner = stacked(env, preset)
    with FakeTensorMode():
        iteration = iterate_stacked(env, learner, monkeypatch)
        rows = [diagnose(run.rollouts[-1]) for run in each_run(iteration, 2)]
    losses = [figure for row in iteration.figures.values() for figure in row.values()]
    assert {figure.shape for figure in losses} == {(2,)}
    figures = [*losses, *(figure for row in rows for figure in row.values())]
    assert {figure.device.type for figure in figures} == {GPU.type}


@pytest.mark.parametrize("preset", ["lstm", "metarims"])
def test_an_evaluation_reads_back_now_and_then(preset, monkeypatch):
    env, agent = make(preset, LEVELS[:1])
    looks = 0

    def look(working):
        nonlocal looks
        looks += 1
        return looks > 2

    monkeypatch.setattr("metarims.evaluation.is_over", look)
    monkeypatch.setattr("metarims.evaluation.seeded", lambda device, seed: None)  # not fake
    with FakeTensorMode(), pytest.raises(DynamicOutputShapeException):  # reading the results
        evaluate(fake_agent(agent), fake_environments(env), 3)
    assert looks == 3


def test_a_number_read_back_is_seen(monkeypatch):
    env, agent = make("lstm")
    forward = agent.forward
    agent.forward = lambda obs, state, starts, memory: (
        starts.any().item(),
        forward(obs, state, starts, memory),
    )[1]
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        iterate(env, agent, "lstm", monkeypatch)


def test_rows_that_must_be_counted_are_seen(monkeypatch):
    env, agent = make("lstm")
    monkeypatch.setattr(gpu, "find_ended", lambda ends, everyone: 2 * (ends.any(0).nonzero(),))
    with FakeTensorMode(), pytest.raises(DynamicOutputShapeException):
        iterate(env, agent, "lstm", monkeypatch)


def test_a_tensor_on_the_wrong_device_is_seen(monkeypatch):
    env, agent = make("lstm")
    forward = agent.encoder.forward
    agent.encoder.forward = lambda obs, memory: (
        forward(obs, memory).spread() + torch.ones(16, device="cpu")
    )
    with FakeTensorMode(), pytest.raises(FakeTensorDeviceMismatchError):
        iterate(env, agent, "lstm", monkeypatch)
