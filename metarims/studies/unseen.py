"""Zero-shot success on other levels along a training, evaluated while an agent learns."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..config import RunConfig
from ..evaluation import EVALUATED, NUM_ENVS, SEED, evaluate
from ..protocols import Agent, Simulator, Stage
from ..runs import Row, Run
from ..tables import markdown_table
from ..tally import has_learnt
from .compare import agent_of
from .gallery import random_numbers_of_its_own
from .transfer import middle, over


class Examiner:
    """Evaluates an agent on a run's other levels just as `run.py evaluate` does: a copy of it, in
    environments and by random numbers of its own.
    """

    def __init__(self, simulator: Simulator, config: RunConfig, device: torch.device) -> None:
        self._simulator, self._config, self._device = simulator, config, device
        with random_numbers_of_its_own(device):
            self._rooms = [*map(self._room, config.evaluation.env)]

    def __call__(self, agent: Agent) -> Row:
        """Success rate, mean return and mean length by level, under Stable-Baselines3's names."""
        row: Row = {}
        with random_numbers_of_its_own(self._device):
            for env, copy in self._rooms:
                copy.load_state_dict(agent.state_dict())
                found = evaluate(copy, env, self._config.evaluation.episodes)
                row[key(found.env, "success_rate")] = found.success_rate
                row[key(found.env, "mean_reward")] = found.mean_return
                row[key(found.env, "mean_ep_length")] = found.mean_length
        return row

    def _room(self, level: str) -> tuple[Stage, Agent]:
        """Environments of a level, and an agent of the run's kind for them."""
        trained = self._config.environment
        count = min(self._config.evaluation.episodes, NUM_ENVS)
        other = trained.elsewhere((level,), count)
        env = other.made(self._simulator.make, str(self._device), SEED)
        return env, self._config.agent.make(env, self._config.run.seed, trained.env)


def key(level: str, figure: str) -> str:
    """What an evaluation's figure is called among a run's metrics."""
    return f"{EVALUATED}{level}/{figure}"


@dataclass(frozen=True)
class Course:
    """Success on a level along one run.

    Attributes:
        frames: at each evaluation, [n], those of the run that it began from included.
        success: the rate, [n].
        begun: frames of the run that it began from.
        learnt: whether it ended because it had learnt, and goes on as it ended.
    """

    frames: np.ndarray
    success: np.ndarray
    begun: float
    learnt: bool


Agents = Mapping[str, Sequence[Course]]  # a course of each run, by agent
Courses = Mapping[tuple[str, str], Agents]  # by the levels learnt and the one evaluated on


def read_courses(runs: Iterable[Run]) -> Courses:
    """What runs did on the levels that they were evaluated on as they learnt."""
    found: dict[tuple[str, str], dict[str, list[Course]]] = {}
    for run in runs:
        rows = list(run.metrics()) if run.config.evaluation.env else []
        begun = rows[0].get("time/frames_before", 0) if rows else 0
        learnt = bool(rows) and has_learnt(rows[-1], run.config.run.until)
        for level in run.config.evaluation.env:
            name = key(level, "success_rate")
            there = [(begun + row["frames"], row[name]) for row in rows if name in row]
            if there:
                agents = found.setdefault((run.config.environment.label, level), {})
                frames, success = np.array(there).T
                agents.setdefault(agent_of(run), []).append(Course(frames, success, begun, learnt))
    return found


def courses_markdown(courses: Courses) -> str:
    """Two tables for each pair of levels, of success and of who is better than whom, a column for
    as many frames as all runs were evaluated after, and one for their ends where these differ.
    """
    parts = []
    for (source, level), agents in courses.items():
        each = [set(course.frames) for runs in agents.values() for course in runs]
        frames = sorted(set.intersection(*each))
        titles = [f"{count:,.0f}" for count in frames]
        if not all(max(seen) in frames for seen in each):
            titles.append("at the end")
        samples = {
            agent: [
                *([run.success[run.frames == count][0] for run in runs] for count in frames),
                [run.success[-1] for run in runs],
            ][: len(titles)]
            for agent, runs in agents.items()
        }
        rows = [
            [f"{agent} ({len(agents[agent])})", *(middle(sample).text(100, 1) for sample in own)]
            for agent, own in samples.items()
        ]
        parts.append(f"{level} while learning {source}: success in %, by frames:\n")
        parts += [markdown_table(["agent", *titles], rows), ""]
        better = [
            [
                f"{one} over {other}",
                *(over(*pair).text(1, 2) for pair in zip(own, its, strict=True)),
            ]
            for (other, its), (one, own) in itertools.combinations(samples.items(), 2)
        ]
        if better:
            parts.append("Probability that a run of the first agent succeeds more often there:\n")
            parts += [markdown_table(["", *titles], better), ""]
    return "\n".join(parts)
