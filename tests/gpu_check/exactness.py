"""The checks: a GPU's results against the CPU's, the definitions' and its own again."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import agents
import envs
from envs.registry import find_level
from metarims.commands.base import build
from metarims.commands.train import build_all
from metarims.config import find_preset
from metarims.graphs import WARM, iterating
from metarims.learner import Learner
from metarims.rollout import begin
from metarims.seeds import Stack
from metarims.settings import replace_at
from metarims.tables import markdown_table
from metarims.training import Training

from ..agents.cores.spans import real_outcomes
from .report import Outcome, in_a_line
from .scale import DOORKEY, SIMULATOR, Scale

ROOT = Path(__file__).parents[2]
NEAR = 1e-6  # real differences in double precision are larger
Seen = Iterator[dict[str, Tensor]]


def trajectory(level: str, num_envs: int, steps: int, device: str) -> Seen:
    """A batch's outputs at its reset and at each step of random actions, moved to the CPU."""
    env = envs.make(level, num_envs=num_envs, device=device)
    actions = np.random.default_rng(0).integers(0, env.num_actions, (steps, num_envs))
    yield {name: each.cpu() for name, each in env.reset(seed=0).items()}
    for chosen in actions:
        step = env.step(torch.from_numpy(chosen).to(env.device))
        seen = {"reward": step.reward, "terminated": step.terminated, "truncated": step.truncated}
        seen |= step.obs | {f"final {name}": each for name, each in step.final_obs.items()}
        yield {name: each.cpu() for name, each in (seen | {"state": env.state}).items()}


def first_difference(ours: Seen, theirs: Seen) -> str:
    """Where two trajectories first differ, "" if they do not."""
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for name, each in a.items():
            if not torch.equal(each, b[name]):
                return f"{name} after {step} steps"
    return ""


@contextmanager
def threads_of_a_gpu() -> Iterator[None]:
    """Inside the block batches use the GPU's launcher, its kernels a loop of threads on the CPU."""
    from ..envs.test_launches import run_as_threads

    with pytest.MonkeyPatch.context() as patch:
        run_as_threads(patch)
        yield


def compare_trajectories(scale: Scale) -> Outcome:
    """Every level on both devices, bit for bit, in one process per core."""
    found = dict[str, str]()
    for each in compare_side_by_side(scale):
        found |= each
        differ = sum(map(bool, found.values()))
        print(f"{len(found)} of {len(scale.levels)} levels, {differ} differ", flush=True)
    differences = [f"- {level}: {where}" for level, where in found.items() if where]
    size = f"{scale.num_envs} environments × {scale.steps} steps"
    lines = [f"{len(found)} levels, {size}: {len(differences)} differ.", "", *differences]
    return Outcome(not differences, lines)


def compare_side_by_side(scale: Scale) -> Iterator[dict[str, str]]:
    """As `compare_levels`, with the levels of one function in one process, on all cores."""
    drawn = dict[object, list[str]]()
    for level in scale.levels:
        drawn.setdefault(find_level(level).generate, []).append(level)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        parts = [replace(scale, levels=tuple(levels)) for levels in drawn.values()]
        for done in as_completed([pool.submit(compare_levels, part) for part in parts]):
            yield done.result()


def compare_levels(scale: Scale) -> dict[str, str]:
    """Where each level's trajectories first differ, "" if they do not, or why they failed."""
    found = {}
    for level in scale.levels:
        ours = list(trajectory(level, scale.num_envs, scale.steps, "cpu"))
        with threads_of_a_gpu() if scale.dry else nullcontext():
            theirs = trajectory(level, scale.num_envs, scale.steps, scale.device)
            try:
                found[level] = first_difference(iter(ours), theirs)
            except Exception as error:  # other libraries' too; the other levels go on
                found[level] = in_a_line(error)
    return found


def compare_cells(scale: Scale) -> Outcome:
    """Fused spans' values and gradients against the definitions in single and double precision."""
    if scale.dry:
        return interpret_cells()
    outcomes = list(real_outcomes(scale.device))
    rows = [
        (each.name, f"{each.fused:.1e}", f"{each.defined:.1e}", "yes" if each.holds else "**no**")
        for each in outcomes
    ]
    head = "cell", "fused is off by", "definition is off by", "near enough"
    lines = ["Off from the definition in double precision, as shares of the largest number.", ""]
    return Outcome(all(each.holds for each in outcomes), [*lines, markdown_table(head, rows)])


def interpret_cells() -> Outcome:
    """Some of the cells, in a process in which Triton interprets."""
    return outcome_of(["-m", "tests.agents.cores.spans", "--few"], TRITON_INTERPRET="1")


def outcome_of(words: list[str], **variables: str) -> Outcome:
    """The output of a Python process, and whether it succeeded."""
    told = os.environ | variables
    words = [sys.executable, *words]
    done = subprocess.run(words, cwd=ROOT, env=told, capture_output=True, text=True)
    return Outcome(done.returncode == 0, ["```", *(done.stdout or done.stderr).splitlines(), "```"])


@contextmanager
def deterministic() -> Iterator[None]:
    """Inside the block PyTorch refuses nondeterministic operations."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def compare_runs(scale: Scale) -> Outcome:
    """Compare two runs of one seed, parameter by parameter."""
    return compare_parameters(scale, False, f"with {scale.batch} environments")


def compare_captured(scale: Scale) -> Outcome:
    """Compare a run with and without captured iterations, parameter by parameter."""
    if scale.dry:
        chosen = ["-k", "replays_are_what_iterations_are[lstm]"]
        return outcome_of(["-m", "pytest", "-q", "tests/metarims/test_graphs.py", *chosen])
    return compare_parameters(scale, True, f"of which {WARM} are not captured")


def compare_parameters(scale: Scale, capture: bool, how: str) -> Outcome:
    """Compare a run that is not captured with the same run again, captured or not."""
    rows, hold = [], True
    for agent in scale.agents:
        with deterministic():
            once, again = (parameters_after(agent, scale, way) for way in (False, capture))
        differ = [name for name, each in once.items() if not torch.equal(each, again[name])]
        hold &= not differ
        rows.append((agent, str(len(once)), ", ".join(differ) or "none"))
    lines = [f"After {scale.iterations} iterations, {how}.", ""]
    return Outcome(hold, [*lines, markdown_table(("agent", "tensors", "differ"), rows)])


def parameters_after(agent: str, scale: Scale, capture: bool) -> Mapping[str, Any]:
    """An agent's parameters after some iterations, of twenty updates or more each."""
    told: dict[str, object] = {"env": (DOORKEY,), "device": scale.device, "capture": capture}
    config = replace_at(find_preset(agent), told | {"num_envs": scale.batch})
    env, made = build(SIMULATOR.make, config)
    learner = Learner(made, config.loops, config.algorithm, config.run.seed, env.device)
    iterate = iterating(learner, config.run, env.device)
    cursor = begin(env, made, config.run.seed)
    for _ in range(scale.iterations):
        _, cursor = iterate(env, cursor)
    return made.state_dict()


@contextmanager
def double() -> Iterator[None]:
    """Inside the block everything is in double precision, by the definitions."""
    torch.set_default_dtype(torch.float64)
    try:
        with agents.definitions():
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def compare_seeds(scale: Scale) -> Outcome:
    """Compare the parameters of runs trained at once and alone, to rounding."""
    rows, hold = [], True
    for agent in scale.agents:
        with double():
            worst = off_from_alone(agent, scale)
        hold &= worst < NEAR
        rows.append((agent, f"{worst:.1e}"))
    lines = ["After an iteration in double precision, as shares of the largest number.", ""]
    return Outcome(hold, [*lines, markdown_table(("agent", "off by"), rows)])


def off_from_alone(agent: str, scale: Scale) -> float:
    """The largest relative difference of two seeds' parameters, trained at once and alone."""
    told = {"env": (DOORKEY,), "device": scale.device, "num_envs": scale.batches[0]}
    configs = [replace_at(find_preset(agent), told | {"seed": seed}) for seed in (1, 2)]
    ours, theirs = (
        [Training(config, *build(SIMULATOR.make, config)) for config in configs] for _ in range(2)
    )
    Stack(ours, build_all(SIMULATOR.make, configs)).iterate()
    shares = []
    for one, other in zip(ours, theirs, strict=True):
        other.iterate()
        pairs = zip(one.agent.state_dict().values(), other.agent.state_dict().values(), strict=True)
        shares += [(a - b).abs().max() / b.abs().max() for a, b in pairs]
    return torch.stack(shares).max().item()  # NaN where one is
