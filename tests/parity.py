"""The engine against upstream, step by step: ``python -m tests.parity`` (see ``--help``).

There are three drivers. The walker takes random actions: each round of every seed begins with a
reset (the first one seeded) and continues through the episodes that end meanwhile. The bot takes
the actions of upstream's ``BabyAIBot``, chosen on upstream's side, until the mission is
accomplished. The jumper puts both agents before a random object every other step, where random
actions do more than bump into walls: it reaches most goals that the walker never does. All compare
image, direction, mission, reward and both flags of every transition, the last observation of every
episode and the first of the next.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from minigrid.core.constants import DIR_TO_VEC
from minigrid.utils.baby_ai_bot import BabyAIBot

import envs
from envs.bot import patience
from envs.record import RECORD
from envs.vocabulary import decode

NUM_ACTIONS, DONE = 7, 6
AGENT = RECORD.fields["x"][1]  # type: ignore[index]  # x, y and direction, two bytes each
WALKING = np.array([2, 2, 6, 2, 1, 3, 1]) / 17  # odd seeds walk and toggle more than even ones do
PATIENCE = 10.0  # seconds that one upstream reset or bot decision may take


@dataclass
class Report:
    """What one driver found on one level.

    Attributes:
        id: the level.
        transitions: how many were compared.
        successes: episodes that the bot finished, or the jumper won.
        skipped: why seeds were abandoned, one line each: upstream or its bot failed or hung.
        differences: one description each, at most one per seed.
    """

    id: str
    transitions: int = 0
    successes: int = 0
    skipped: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def make_upstream(id: str) -> Any:
    """Upstream's environment without Gymnasium's checker."""
    return gymnasium.make(id, disable_env_checker=True)


class Seed:
    """Upstream's environment for one seed, beside row `row` of our batch.

    It drops out (`alive` false) at its first difference, or where upstream fails.
    """

    def __init__(self, report: Report, row: int, seed: int) -> None:
        self.report, self.row, self.seed = report, row, seed
        self.env = make_upstream(report.id)
        self.alive, self.won = True, False
        self.history: list[str] = []
        self.obs: dict[str, Any] = {}

    def attempt(self, what: str, action: Callable[[], Any]) -> Any:
        """Let upstream or its bot do something; abandon the seed if that fails or hangs."""
        try:
            with patience(PATIENCE), contextlib.redirect_stdout(io.StringIO()):
                return action()
        except Exception as error:
            self.alive = False
            reason = str(error).splitlines()[0] if str(error) else ""
            line = f"seed {self.seed}: {what}: {type(error).__name__}: {reason}"
            self.report.skipped.append(line)
            return None

    def reset(self, ours: dict[str, Any], seed: int | None = None) -> None:
        """Begin an episode upstream; compare its first observation with `ours`."""
        result = self.attempt("reset", lambda: self.env.reset(seed=seed))
        if result is not None:
            self.obs = result[0]
            self.history.append("reset")
            self.compare(self.obs, ours, {}, {})

    def step(self, action: int, ours: dict[str, Any], outcome: dict[str, Any]) -> bool:
        """Step upstream; compare with `ours` and `outcome`; returns whether the episode ended."""
        self.obs, reward, terminated, truncated, _ = self.env.step(action)
        self.history.append(str(action))
        self.report.transitions += 1
        self.won = bool(terminated and reward > 0)
        theirs = {
            "reward": np.float32(reward),
            "terminated": bool(terminated),
            "truncated": bool(truncated),
        }
        self.compare(self.obs, ours, theirs, outcome)
        return bool(terminated or truncated)

    def compare(
        self,
        obs: dict[str, Any],
        our_obs: dict[str, Any],
        outcome: dict[str, Any],
        our_outcome: dict[str, Any],
    ) -> None:
        """Report the first field that differs."""
        theirs, ours = {**obs, **outcome}, {**our_obs, **our_outcome}
        for name in ("mission", "direction", "image", *outcome):
            if not np.array_equal(theirs[name], ours[name]):
                self.alive = False
                self.report.differences.append(self.describe(name, theirs[name], ours[name]))
                return

    def describe(self, name: str, theirs: Any, ours: Any) -> str:
        """The difference, the actions that led to it, and upstream's grid after it."""
        if name == "image":
            cells = np.argwhere((theirs != ours).any(axis=2))
            theirs = {(int(x), int(y)): theirs[x, y].tolist() for x, y in cells}
            ours = {cell: ours[cell].tolist() for cell in theirs}
        steps = len(self.history) - 1
        return (
            f"{self.report.id} seed {self.seed}, {self.history.count('reset')} resets, "
            f"{steps} steps and resets in: {name}\n"
            f"  upstream {theirs!r}\n  ours     {ours!r}\n"
            f"  last actions: {' '.join(self.history[-20:])}\n"
            f"{self.env.unwrapped.pprint_grid()}"
        )


def rows(obs: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    """A batch of observations as upstream's, one per row."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in obs.items()}
    return [
        {"image": image, "direction": int(direction), "mission": decode(mission)}
        for image, direction, mission in zip(
            arrays["image"], arrays["direction"], arrays["mission"], strict=True
        )
    ]


def step_both(env: Any, seeds: list[Seed], actions: np.ndarray) -> list[Seed]:
    """Step ours with `actions` [B] and upstream's live seeds; returns those whose episode ended."""
    step = env.step(torch.from_numpy(actions).to(env.device))
    last, first = rows(step.final_obs), rows(step.obs)
    reward = step.reward.cpu().numpy()
    terminated, truncated = step.terminated.tolist(), step.truncated.tolist()
    ended = []
    for seed in seeds:
        if not seed.alive:
            continue
        i = seed.row
        outcome = {
            "reward": reward[i],
            "terminated": terminated[i],
            "truncated": truncated[i],
        }
        if seed.step(int(actions[i]), last[i], outcome) and seed.alive:
            seed.reset(first[i])
            ended.append(seed)
    return ended


def random_actions(seed: int, count: int) -> np.ndarray:
    """The walker's actions [count]: uniform for even seeds, weighted for odd ones."""
    weights = WALKING if seed % 2 else None
    return np.random.default_rng([seed, 7]).choice(NUM_ACTIONS, count, p=weights)


def compare_walks(
    id: str,
    first_seed: int = 0,
    seeds: int = 32,
    episodes: int = 3,
    steps: int = 300,
    make: Callable[..., Any] = envs.make,
) -> Report:
    """Walk both at random: `episodes` rounds of `steps` steps for each of `seeds` seeds."""
    report = Report(id)
    env = make(id, num_envs=seeds)
    walkers = [Seed(report, row, first_seed + row) for row in range(seeds)]
    actions = np.stack([random_actions(w.seed, episodes * steps) for w in walkers], axis=1)
    for episode in range(episodes):
        firsts = rows(env.reset(seed=None if episode else first_seed))
        for walker in walkers:
            if walker.alive:
                walker.reset(firsts[walker.row], None if episode else walker.seed)
        for chosen in actions[episode * steps :][:steps]:
            step_both(env, walkers, chosen)
        check_missions(env, walkers)
    return report


def check_missions(env: Any, seeds: list[Seed]) -> None:
    """Compare `missions()` with upstream's."""
    ours = env.missions()
    for seed in seeds:
        if seed.alive and ours[seed.row] != seed.obs["mission"]:
            seed.report.differences.append(
                seed.describe("missions()", seed.obs["mission"], ours[seed.row])
            )


def compare_bot(
    id: str, first_seed: int = 0, seeds: int = 20, make: Callable[..., Any] = envs.make
) -> Report:
    """Let upstream's bot lead both through one episode for each of `seeds` seeds."""
    report = Report(id)
    env = make(id, num_envs=seeds)
    leaders = [Seed(report, row, first_seed + row) for row in range(seeds)]
    firsts = rows(env.reset(seed=first_seed))
    for leader in leaders:
        leader.reset(firsts[leader.row], leader.seed)
    bots = {
        leader: leader.attempt("bot", partial(BabyAIBot, leader.env.unwrapped))
        for leader in leaders
        if leader.alive
    }
    actions = np.full(seeds, DONE)
    while any(leader.alive for leader in bots):
        last = actions.copy()
        for leader in bots:
            if leader.alive:
                actions[leader.row] = choose(leader, bots[leader], last[leader.row])
        for leader in step_both(env, list(bots), actions):
            report.successes += 1
            leader.alive = False
    return report


def compare_jumps(id: str, first_seed: int = 0, seeds: int = 16, steps: int = 200) -> Report:
    """Act at random before random objects, through several episodes of each of `seeds` seeds."""
    report = Report(id)
    env = envs.make(id, num_envs=seeds)
    jumpers = [Seed(report, row, first_seed + row) for row in range(seeds)]
    firsts = rows(env.reset(seed=first_seed))
    for jumper in jumpers:
        jumper.reset(firsts[jumper.row], jumper.seed)
    random = np.random.default_rng([first_seed, 11])
    for step in range(steps):
        if step % 2 == 0:
            jump(env, [jumper for jumper in jumpers if jumper.alive], random)
        for jumper in step_both(env, jumpers, random.choice(NUM_ACTIONS, seeds)):
            report.successes += jumper.won
    return report


def jump(env: Any, jumpers: list[Seed], random: np.random.Generator) -> None:
    """Put both agents before an object, if there is one within reach."""
    state = env.state.cpu().numpy()
    for jumper in jumpers:
        spots = spots_before_objects(jumper.env.unwrapped)
        if spots:
            x, y, direction = spots[random.integers(len(spots))]
            jumper.env.unwrapped.agent_pos = (x, y)
            jumper.env.unwrapped.agent_dir = direction
            state[jumper.row, AGENT : AGENT + 6].view(np.int16)[:] = x, y, direction
            jumper.history.append(f"jump to {x},{y},{direction}")
    env.state = torch.from_numpy(state)


def spots_before_objects(env: Any) -> list[tuple[int, int, int]]:
    """Free cells that the agent can reach now, and the directions that face an object from them."""
    seen, spots = set(), []
    ahead = [tuple(int(v) for v in env.agent_pos)]
    while ahead:
        x, y = ahead.pop()
        cell = env.grid.get(x, y)
        if (x, y) in seen or (cell is not None and not cell.can_overlap()):
            continue
        seen.add((x, y))
        for direction, (dx, dy) in enumerate(DIR_TO_VEC):
            there = env.grid.get(x + dx, y + dy)
            if cell is None and there is not None and there.type != "wall":
                spots.append((x, y, direction))
            ahead.append((x + dx, y + dy))
    return spots


def choose(leader: Seed, bot: Any, last: int) -> int:
    """The bot's next action, `done` if it gives up."""
    previous = int(last) if leader.history[-1] != "reset" else None
    action = leader.attempt("bot", lambda: bot.replan(previous))
    return DONE if action is None else int(action)


def run(task: Callable[[], Report]) -> Report:
    """A pool's task, on one thread, which is fastest for small batches."""
    torch.set_num_threads(1)
    return task()


def print_report(reports: Sequence[Report]) -> None:
    """Print one line per level, then the differences."""
    for report in reports:
        successes = f"{report.successes:4} successes" if report.successes else ""
        print(
            f"{report.id:44}{report.transitions:10,} transitions "
            f"{len(report.differences):4} differences {len(report.skipped):4} skipped {successes}"
        )
        for line in report.skipped[:2]:
            print(f"    {line}")
    for report in reports:
        for difference in report.differences[:1]:
            print(f"\n{difference}")


def main(
    ids: tuple[str, ...] = (),
    seeds: int = 32,
    first_seed: int = 0,
    episodes: int = 3,
    steps: int = 300,
    bot_seeds: int = 20,
    jump_seeds: int = 16,
    min_transitions: int = 0,
    jobs: int = os.cpu_count() or 1,
) -> int:
    """Compare the engine with upstream; the exit code is 1 if there is any difference.

    Args:
        ids: levels, or parts of their names (default: all); whole names of others that Gymnasium
            knows, WFC's for instance.
        seeds: seeds of the walker on each level.
        first_seed: the first of them.
        episodes: rounds per seed, each begun with a reset.
        steps: random steps per round.
        bot_seeds: seeds of the bot on each BabyAI level.
        jump_seeds: seeds of the jumper on each level.
        min_transitions: fail if fewer were compared.
        jobs: processes.
    """
    start = time.monotonic()
    chosen = [id for id in envs.levels() if not ids or any(part in id for part in ids)]
    chosen += [id for id in ids if id in gymnasium.registry and id not in chosen]
    tasks = [
        partial(compare_walks, id, first_seed, seeds, episodes, steps) for id in chosen if seeds
    ]
    tasks += [
        partial(compare_bot, id, first_seed, bot_seeds)
        for id in chosen
        if bot_seeds and re.match("BabyAI-", id)
    ]
    tasks += [partial(compare_jumps, id, first_seed, jump_seeds) for id in chosen if jump_seeds]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        reports = list(pool.map(run, tasks))
    print_report(reports)
    transitions = sum(report.transitions for report in reports)
    differences = sum(len(report.differences) for report in reports)
    skipped = sum(len(report.skipped) for report in reports)
    print(
        f"\n{transitions:,} transitions of {len(chosen)} levels compared in "
        f"{time.monotonic() - start:.0f} s: {differences} differences, {skipped} seeds skipped"
    )
    return int(differences > 0 or not chosen or transitions < min_transitions)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
