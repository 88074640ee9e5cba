"""``evaluate``: zero-shot on any level, with all modules or with some switched off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from ..checkpoint import Checkpoint
from ..errors import UsageError, check_between, check_positive, check_seed
from ..evaluation import NUM_ENVS, SEED, Evaluation, FindEvents, evaluate
from ..files import check_writable, write_json
from ..protocols import AgentConfig, Stage
from ..runs import Run, load_run
from ..status import StatusLine, status_line
from .base import (
    RunFolder,
    Wiring,
    check_levels,
    load_agent,
    make_env,
    resolve_device,
)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a run's agent on its training levels or zero-shot on others.

    Attributes:
        run_folder: the folder of one run.
        env: level ids (default: the training levels).
        episodes: fresh episodes on each level.
        seed: seed of the episodes and the actions.
        temperature: temperature of the policy's softmax; above 1 is more random, 0 is greedy.
        checkpoint: "best" (the first with the highest training success) or a number of
            frames (default: the newest).
        knock_out: for each of these numbers, also evaluate with that many of the active modules,
            drawn anew at each step, switched off; and, in turn, with each module switched off
            throughout.
        events: also print the share of failed and of successful episodes in which the agent carried
            something, faced a door, a key, the goal, and so on.
        device: "auto", "cpu" or "cuda".
        json: JSON file for the results.
    """

    run_folder: RunFolder
    env: tuple[str, ...] = ()
    episodes: int = 1000
    seed: int = SEED
    temperature: float = 1.0
    checkpoint: str = ""
    knock_out: tuple[int, ...] = ()
    events: bool = False
    device: str = "auto"
    json: Path | None = None

    def run(self, wiring: Wiring) -> None:
        """Evaluate level by level."""
        check_positive(episodes=self.episodes)
        check_seed(self.seed)
        check_between(0, math.inf, temperature=self.temperature)
        check_writable(self.json)
        run = load_run(self.run_folder)
        trained = run.config.environment
        levels = self.env or trained.env
        check_levels(wiring.simulator, levels)
        device, lesions = resolve_device(self.device), lesioned(run, self.knock_out)
        make, count = wiring.simulator.make, min(self.episodes, NUM_ENVS)
        find = wiring.simulator.find_events if self.events else None
        reports = []
        checkpoint = run.load(self.checkpoint)
        print(HEAD, flush=True)
        with status_line() as status:
            tell = partial(self.tell, run, checkpoint, find, status)
            for level in levels:
                env = make_env(make, trained.elsewhere((level,), count), device, self.seed)
                reports += [tell(env, off, agent) for off, agent in lesions.items()]
        write_json(self.json, reports)

    def tell(
        self,
        run: Run,
        checkpoint: Checkpoint,
        find: FindEvents | None,
        status: StatusLine,
        env: Stage,
        off: str,
        agent: AgentConfig,
    ) -> dict[str, object]:
        """Evaluate one agent on one level, and print the result; returns it for the JSON file."""
        name = ", ".join(filter(None, (*env.level_ids, off)))
        found = evaluate(
            load_agent(run, env, checkpoint, agent),
            env,
            self.episodes,
            self.seed,
            self.temperature,
            find,
            partial(show, status, name, self.episodes),
        )
        status.give(line(name, found))
        report = found.as_json() | ({"knocked_out": off} if self.knock_out else {})
        if self.events:
            shares = {name: found.share_with(ok) for name, ok in OUTCOMES.items()}
            report["events"] = shares
            status.give("\n".join(map(events_line, shares, shares.values())))
        return report


def show(status: StatusLine, name: str, wanted: int, given: Tensor) -> None:
    """Show the number of episodes so far."""
    status.show(lambda: f"{name}: {int(given):,}/{wanted:,} episodes")


OUTCOMES = {"failed": False, "succeeded": True}
HEAD = f"{'level':36}{'episodes':>9}{'success':>9}   {'95 %':17}{'return':>8}{'steps':>8}"


def lesioned(run: Run, counts: Sequence[int]) -> dict[str, AgentConfig]:
    """A run's agent as it is and, for each count, its lesions, by what is switched off."""
    found = {"": run.config.agent}
    for count in counts:
        check_positive(knock_out=count)
        lesions = run.config.agent.lesions(count)
        if not lesions:
            raise UsageError(f"agent {run.config.preset!r} has no modules to knock out")
        found |= lesions
    return found


def events_line(outcome: str, shares: Mapping[str, float]) -> str:
    """Share of a group of episodes in which each event occurred, events that never did left out."""
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share > 0)
    return f"  of those that {outcome}: {told or 'none'}"


def line(name: str, found: Evaluation) -> str:
    """One evaluation as a row of the table."""
    low, high = found.success_ci95
    return (
        f"{name:36}{len(found.successes):>9}{found.success_rate:>9.1%}   "
        f"{f'{low:.1%} to {high:.1%}':17}{found.mean_return:>8.3f}{found.mean_length:>8.1f}"
    )
