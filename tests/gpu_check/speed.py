"""The measurements: environments, training, and an agent that learns."""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import torch

import agents
import envs
from envs.bench import SIMULATORS, Simulator, start_best, start_engine
from metarims.commands.base import build
from metarims.commands.bench import preset_config
from metarims.commands.train import build_all
from metarims.config import RunConfig, find_preset
from metarims.errors import UsageError
from metarims.graphs import WARM, in_tf32
from metarims.memory import ran_out_of_memory
from metarims.seeds import Member, train_stacked
from metarims.settings import replace_at
from metarims.studies.bench import SHARES, count_flops, start_learning, time_shares, wait_for
from metarims.studies.race import Entry, race, time_burst
from metarims.tables import markdown_table
from metarims.training import train

from .report import Outcome, in_a_line
from .scale import DOORKEY, SIMULATOR, Scale


def rate_of(work: Callable[[], object], device: str, seconds: float) -> float:
    """Executions of the work per second, over at least ``seconds``."""
    for _ in range(3):
        work()
    wait_for(torch.device(device))
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        work()
        wait_for(torch.device(device))
        count += 1
    return count / elapsed


def bytes_per_second(scale: Scale) -> float:
    """The bytes that a copy on the device reads and writes per second."""
    x, y = torch.empty(2, scale.memory, device=scale.device).unbind()
    return 2 * x.nbytes * rate_of(lambda: y.copy_(x), scale.device, scale.seconds)


def flops_per_second(scale: Scale, tf32: bool) -> float:
    """FLOP/s of matrix products, in single precision or by tensor cores in TF32."""
    a, b = torch.randn(2, scale.side, scale.side, device=scale.device).unbind()
    with in_tf32() if tf32 else nullcontext():
        return 2 * scale.side**3 * rate_of(lambda: a @ b, scale.device, scale.seconds)


def race_environments(scale: Scale) -> Outcome:
    """Steps per second at every size, and of the peers on the first level."""
    can = bytes_per_second(scale)
    peers = [] if scale.dry else [s for s in SIMULATORS[1:] if s.on_gpu and s.package != "envs"]
    here = [peer for peer in peers if peer.version and jax_has_gpu()]
    lines = [f"A copy moves {can / 1e9:,.0f} GB a second.", ""]
    absent = [peer.name for peer in peers if peer not in here]
    lines += [f"Not here, or without a GPU: {', '.join(absent)}.", ""] if absent else []
    rows, whole = [], True
    moved = {level: bytes_of_a_step(level) for level in scale.raced}
    for level, size, capture in races(scale):
        found = time_engine(level, size, capture, scale)
        known = isinstance(found, float)
        share = "" if isinstance(found, str) else f"{found * moved[level] / can:.1%}"
        rows.append((level, f"engine{', captured' * capture}", f"{size:,}", as_cell(found), share))
        print(" ".join(rows[-1]), flush=True)
        whole &= known
    for speed in race(entries(here, scale), scale.seconds, scale.rounds):
        rows.append((speed.level, speed.name, f"{speed.num_envs:,}", as_cell(speed.median), ""))
        print(" ".join(rows[-1]), flush=True)
    head = "level", "simulator", "environments", "steps/s", "of a copy's bytes, at most"
    return Outcome(whole, [*lines, markdown_table(head, rows)])


def races(scale: Scale) -> Iterator[tuple[str, int, bool]]:
    """Levels at every size, in the last way of ``captures``, at the largest size in all."""
    for level, size in itertools.product(scale.raced, scale.sizes):
        for capture in scale.captures if size == scale.sizes[-1] else scale.captures[-1:]:
            yield level, size, capture


def time_engine(level: str, size: int, capture: bool, scale: Scale) -> float | str:
    """Steps per second in the median round, or the error. In this process, since another would
    compile the kernels anew.
    """
    try:
        burst = start_engine(level, size, scale.device, capture=capture)
        burst()
        return statistics.median(time_burst(burst, scale.seconds) for _ in range(scale.rounds))
    except Exception as error:  # other libraries' too; the other sizes go on
        return in_a_line(error)


def as_cell(found: float | str) -> str:
    """A speed as a table cell."""
    return found if isinstance(found, str) else f"{found:,.0f}"


def entries(those: list[Simulator], scale: Scale) -> list[Entry]:
    """The peers as entries of a race, each at the best of the larger sizes."""
    level, sizes = scale.raced[0], scale.sizes[-3:]
    return [
        Entry(s.name, s.version, level, partial(start_best, s, level, sizes, scale.device))
        for s in those
    ]


def bytes_of_a_step(level: str) -> float:
    """Bytes per environment if a step reads and writes its state and writes the observation."""
    env = envs.make(level, num_envs=1)
    seen = env.reset()
    return 2 * env.state.nbytes + sum(each.nbytes for each in seen.values())


def jax_has_gpu() -> bool:
    """Whether JAX, in a separate process, finds a GPU."""
    code = "import jax; print(jax.default_backend())"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return asked.stdout.strip() == "gpu"


def time_training(scale: Scale) -> Outcome:
    """Frames per second of training, where the time goes, and memory."""
    precisions = sorted({tf32 for _, tf32 in ways(scale)})
    can, rows = {tf32: flops_per_second(scale, tf32) for tf32 in precisions}, []
    for agent in scale.agents:
        config = preset_config(agent, DOORKEY, {"device": scale.device})
        with agents.definitions():
            few = replace_at(config, {"num_envs": scale.batches[0]})
            flops = count_flops(few, *build(SIMULATOR.make, few))
        for batch in scale.batches:
            for capture, tf32 in ways(scale):
                told = {"num_envs": batch, "capture": capture, "tf32": tf32}
                work, own = flops / can[tf32], replace_at(config, told)
                rows.append((agent, f"{batch:,}", *time_learner(own, work, scale)))
                print(" ".join(rows[-1]), flush=True)
    speeds = (f"{'TF32' if tf32 else 'single precision'}: {can[tf32] / 1e12:,.1f}" for tf32 in can)
    lines = [
        f"TFLOP a second of torch.mm in {', in '.join(speeds)}. What reads missions is not counted "
        "in the share of it.",
        "",
    ]
    head = "agent", "environments", "form", "frames/s", "of torch.mm", "GiB", *SHARES
    return Outcome(len(rows) > 0, [*lines, markdown_table(head, rows)])


def ways(scale: Scale) -> list[tuple[bool, bool]]:
    """(capture, TF32): each way of ``captures``, and the last one in TF32 as well."""
    plain = [(capture, False) for capture in scale.captures]
    return plain if scale.dry else [*plain, (scale.captures[-1], True)]


def time_learner(config: RunConfig, work: float, scale: Scale) -> tuple[str, ...]:
    """One agent's row: its form, frames per second, these times the work of a frame, memory and,
    unless iterations are captured, shares of time.
    """
    gc.collect()
    if not scale.dry:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        env, agent = build(SIMULATOR.make, config)
        burst, capture = start_learning(config, env, agent), config.run.capture
        for _ in range(1 + WARM * capture):
            burst()
        rate = time_burst(burst, scale.seconds)
        shares = {} if capture else time_shares(config, env, agent, scale.seconds)
    except (torch.OutOfMemoryError, UsageError) as error:
        reason = "out of memory" if ran_out_of_memory(error) else str(error)
        return (reason, *[""] * (3 + len(SHARES)))
    memory = "" if scale.dry else f"{torch.cuda.max_memory_reserved() / 2**30:.1f}"
    form = f"{getattr(agent, 'form', '')}{', captured' * capture}{', TF32' * config.run.tf32}"
    parts = (f"{shares[name]:.0%}" if shares else "" for name in SHARES)
    return form, f"{rate:,.0f}", f"{rate * work:.1%}", memory, *parts


def learn_at_once(scale: Scale, tf32: bool = False) -> Outcome:
    """Many seeds in one process, until each reaches the success rate; without capture if iterations
    cannot be captured.
    """
    for capture in reversed(scale.captures):
        try:
            return learn_in(scale, {"capture": capture, "tf32": tf32 and not scale.dry})
        except UsageError as error:
            reason = str(error)
    return Outcome(False, [reason])


def learn_in(scale: Scale, way: dict[str, bool]) -> Outcome:
    """Many seeds in one process, captured and in TF32 or not."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = range(1, scale.seeds + 1)
        configs = [replace_at(to_learn(scale, folder, seed), way) for seed in seeds]
        members = [Member(config, *build(SIMULATOR.make, config)) for config in configs]
        start = time.perf_counter()
        summaries = train_stacked(members, build_all(SIMULATOR.make, configs))
        seconds = time.perf_counter() - start
    done = sum(summary.success_rate >= scale.until for summary in summaries)
    frames = sum(summary.frames for summary in summaries)
    line = (
        f"{scale.agents[-1]} on {DOORKEY}: {done} of {scale.seeds} seeds succeed as often as they "
        f"are to, after {frames:,} frames in all and {seconds:.0f} seconds"
        f"{', captured' * way['capture']}{', in TF32' * way['tf32']}."
    )
    return Outcome(scale.dry or done == scale.seeds, [line])


def to_learn(scale: Scale, folder: str, seed: int) -> RunConfig:
    """The configuration of a run until it reaches the success rate."""
    told: dict[str, object] = {"env": (DOORKEY,), "device": scale.device, "seed": seed}
    told |= {"out": f"{folder}/seed-{seed}", "frames": scale.frames, "until": scale.until}
    return replace_at(find_preset(scale.agents[-1]), told | {"num_envs": scale.batches[0]})


def learn(scale: Scale) -> Outcome:
    """One run, until it reaches the success rate."""
    with tempfile.TemporaryDirectory() as folder:
        config = to_learn(scale, folder, 1)
        summary = train(config, *build(SIMULATOR.make, config))
    rate = "no rate yet" if math.isnan(summary.success_rate) else f"{summary.success_rate:.1%}"
    took = f"{summary.frames:,} frames and {summary.seconds:.0f} seconds"
    line = f"{scale.agents[-1]} on {DOORKEY}, success of the last episodes after {took}: {rate}."
    return Outcome(scale.dry or summary.success_rate >= scale.until, [line])
