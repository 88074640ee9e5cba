"""``bench``: speed on this machine, next to installed peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from tyro.conf import Positional

from ..config import RunConfig, find_preset
from ..errors import check_positive
from ..files import check_writable, write_json
from ..graphs import WARM, check_has
from ..protocols import MakeEnvironments
from ..settings import Leaf, replace_at
from ..studies.bench import (
    TORCH_AC_PROCESSES,
    count_flops,
    start_learning,
    start_products,
    start_torch_ac,
    time_shares,
)
from ..studies.race import (
    Contender,
    Entry,
    Speed,
    Start,
    Timer,
    as_json,
    installed_version,
    race,
    ratios,
    shares_line,
    table,
)
from .base import Wiring, build, check_levels, resolve_device

LEARNERS = ("lstm", "rims", "metarims")
PRODUCTS = "torch.mm"  # its FLOP/s are the reference for the learners'
TRAIN_LEVEL = "MiniGrid-DoorKey-5x5-v0"


@dataclass(frozen=True)
class Bench:
    """Measure speed on this machine, next to installed peers.

    Attributes:
        what: "envs" (steps per second of the simulators), "agents" (frames per second of recurrent
            cells, forward and backward) or "train" (frames per second of training; on a CPU also
            FLOP/s and where the time goes).
        env: level ids (default: three for "envs", DoorKey-5x5 for "train").
        num_envs: batch size of the engine in "envs".
        seconds: length of a round.
        rounds: rounds for each contender, in turn.
        device: "auto", "cpu" or "cuda".
        capture: in "train", learn as `train --capture` does (GPU only).
        tf32: in "train", learn as `train --tf32` does (GPU only).
        rims_repo: clone of the public RIMs repository, whose cell "agents" then times as well.
        json: JSON file for the results.
    """

    what: Positional[Literal["envs", "agents", "train"]] = "envs"
    env: tuple[str, ...] = ()
    num_envs: int = 8192
    seconds: float = 2.0
    rounds: int = 5
    device: str = "auto"
    capture: bool = False
    tf32: bool = False
    rims_repo: Path | None = None
    json: Path | None = None

    def run(self, wiring: Wiring) -> None:
        """Measure and print a table."""
        check_positive(num_envs=self.num_envs, seconds=self.seconds, rounds=self.rounds)
        check_writable(self.json)
        check_levels(wiring.simulator, self.env)
        device = resolve_device(self.device)
        check_has(torch.device(device), self.capture, self.tf32)
        bench = {"envs": self.race_envs, "agents": self.race_cells, "train": self.race_learners}
        write_json(self.json, bench[self.what](wiring, device))

    def race_envs(self, wiring: Wiring, device: str) -> object:
        """Steps per second of the engine and its peers."""
        levels = self.env or wiring.bench_levels
        speeds = self.race_all(
            [wiring.simulators(level, self.num_envs, device) for level in levels]
        )
        print(table(speeds, "engine is", [1 / ratio for ratio in ratios(speeds, "engine")]))
        return as_json(speeds)

    def race_cells(self, wiring: Wiring, device: str) -> object:
        """Frames per second of recurrent cells."""
        return wiring.race_cells(self.rims_repo, device, self.seconds, self.rounds)

    def race_learners(self, wiring: Wiring, device: str) -> object:
        """Frames per second of training, and where the time goes."""
        make, levels = wiring.simulator.make, self.env or (TRAIN_LEVEL,)
        told: dict[str, Leaf] = {"device": device, "capture": self.capture, "tf32": self.tf32}
        speeds = self.race_all([learners(make, level, told) for level in levels])
        shown = [speed for speed in speeds if speed.name != PRODUCTS]
        print(table(shown, "torch-ac's", ratios(shown, "torch-ac")))
        rows = dict(zip(speeds, as_json(speeds), strict=True))
        of_products = dict(zip(speeds, ratios(speeds, PRODUCTS), strict=True))
        for speed in speeds if device == "cpu" else ():
            if speed.name in LEARNERS:
                config = preset_config(speed.name, speed.level, told)
                with wiring.definitions():
                    flops = count_flops(config, *build(make, config))
                share = flops * of_products[speed]
                shares = time_shares(config, *build(make, config), self.seconds)
                rows[speed] |= {"flop_per_frame": flops, "share_of_products": share, "time": shares}
                print(work_line(speed, flops, share))
                print(shares_line(speed.name, shares))
        return list(rows.values())

    def race_all(self, contenders: Sequence[Sequence[Contender]]) -> list[Speed]:
        """One race per level."""
        return [speed for each in contenders for speed in race(each, self.seconds, self.rounds)]


def learners(make: MakeEnvironments, level: str, told: Mapping[str, Leaf]) -> list[Entry]:
    """Our presets with the settings in `told` and, on a CPU, torch.mm and torch-ac if installed."""
    found = [
        Entry(
            agent,
            "this one",
            level,
            partial(start_learner, make, preset_config(agent, level, told)),
        )
        for agent in LEARNERS
    ]
    version, here = installed_version("torch_ac"), told["device"] == "cpu"
    if version and here:
        found.append(Entry("torch-ac", version, level, partial(start_peer, level)))
    if here:
        found.append(Entry(PRODUCTS, torch.__version__, level, start_products))
    return found


def work_line(speed: Speed, flops: float, share: float) -> str:
    """A learner's FLOP per frame, and its FLOP/s as a share of torch.mm's on one core.

    FLOP are those of its definition, which encodes identical frames one by one; fewer are computed.
    """
    return (
        f"{speed.name} on {speed.level}: {flops / 1e6:.1f} MFLOP per frame by its definition, "
        f"{flops * speed.median / 1e9:.0f} GFLOP/s, {share:.0%} of torch.mm's"
    )


def preset_config(agent: str, level: str, told: Mapping[str, Leaf]) -> RunConfig:
    """A preset as ``train`` runs it, with the settings in `told`."""
    return replace_at(find_preset(agent), {"env": (level,), **told})


def start_learner(make: MakeEnvironments, config: RunConfig, timer: Timer) -> Start:
    """Train a preset on the level; called in a process of its own."""
    burst = start_learning(config, *build(make, config))
    for _ in range(1 + WARM * config.run.capture):
        burst()
    return config.environment.num_envs, burst


def start_peer(level: str, timer: Timer) -> Start:
    """Train torch-ac on the level; called in a process of its own."""
    burst = start_torch_ac(level)
    burst()
    return TORCH_AC_PROCESSES, burst
