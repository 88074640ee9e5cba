"""What a run counts: frames, episodes, and how the last ones went."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from . import ranks
from .rollout import Cursor, Rollout

WINDOW = 200  # episodes of each task in the rolling means
MEANS = "ep_rew_mean", "ep_len_mean", "success_rate"  # their names, as in Stable-Baselines3
SUCCESS = re.compile(r"rollout/(.+/)?success_rate")  # of all levels, or one of several


def has_reached(row: Mapping[str, float], target: float) -> bool:
    """Whether a row of metrics has this success rate on every level, over full windows."""
    rates = (rate for name, rate in row.items() if SUCCESS.fullmatch(name))
    return row.get("rollout/window", 0) >= WINDOW and min(rates) >= target


def has_learnt(row: Mapping[str, float], until: float) -> bool:
    """Whether a run with this last row of metrics ended because it reached `until`, if not 0."""
    return until > 0 and has_reached(row, until)


def _none() -> Tensor:
    return torch.zeros(0, 5, dtype=torch.float64)


def with_tasks(episodes: Tensor) -> Tensor:
    """A checkpoint's episodes, [n, 5]; early ones were saved without their tasks, [n, 4], and
    count as of the first.
    """
    return pad(episodes, (0, 1)) if episodes.shape[1:] == (4,) else episodes


@dataclass(frozen=True)
class Tally:
    """A run's counts so far.

    Episodes are ordered by when they began, and the means include only those before which none is
    unfinished: the first to end are short ones, which went well.

    Attributes:
        tasks: number of levels in the batch.
        before: frames that the initial parameters had learnt from.
        frames, iterations, episodes: numbers so far; of episodes, those that ended.
        seconds: time spent in iterations.
        steps: steps of each environment.
        waiting: float64 [n, 5], return, length, success, first step and task of episodes that ended
            while one that began no later has not.
        recent: float64 [up to WINDOW per task, 5], likewise, of each task's last episodes in the
            means: levels with short episodes count no more than others.
    """

    tasks: int = 1
    before: int = 0
    frames: int = 0
    iterations: int = 0
    episodes: int = 0
    seconds: float = 0.0
    steps: int = 0
    waiting: Tensor = field(default_factory=_none)
    recent: Tensor = field(default_factory=_none)

    def after(self, rollouts: Sequence[Rollout], cursor: Cursor, seconds: float) -> Tally:
        """The tally after one more iteration, given its rollouts and the cursor at their end."""
        steps, ended = self.steps, []
        for rollout in rollouts:
            begun = torch.zeros_like(rollout.episodes)
            begun[:, 3] = steps
            ended.append(rollout.episodes + begun)
            steps += len(rollout.rewards)
        fresh = torch.cat(ranks.gather(torch.cat(ended))).cpu()
        running = torch.cat(ranks.gather(cursor.so_far[1])).cpu()
        waiting = torch.cat([self.waiting, fresh])
        counts = waiting[:, 3] < steps - running.max()
        counted = waiting[counts]
        order = counted[:, 3].argsort(stable=True)
        return Tally(
            self.tasks,
            self.before,
            self.frames + sum(rollout.rewards.numel() for rollout in rollouts) * ranks.size(),
            self.iterations + 1,
            self.episodes + len(fresh),
            self.seconds + seconds,
            steps,
            waiting[~counts],
            self._last(torch.cat([self.recent, counted[order]])),
        )

    def _last(self, episodes: Tensor) -> Tensor:
        """Each task's last `WINDOW` episodes, in their order."""
        own = (torch.nonzero(episodes[:, 4] == task)[-WINDOW:, 0] for task in range(self.tasks))
        return episodes[torch.cat([*own]).sort().values]

    def means(self, tasks: Sequence[int] | None = None) -> dict[str, float]:
        """Mean return, length and success over the window, of all episodes or those of some tasks;
        empty if there is none.
        """
        own = self.recent
        if tasks is not None:
            own = own[torch.isin(own[:, 4], torch.tensor(tasks).to(own))]
        return dict(zip(MEANS, own[:, :3].mean(0).tolist(), strict=True)) if len(own) else {}

    def row(self, levels: Sequence[str]) -> dict[str, float]:
        """The counts and the means by name, named as in Stable-Baselines3 where it has them: of all
        episodes and, if there are several `levels`, of each one's.
        """
        row = {
            "frames": self.frames,
            "time/frames_before": self.before,
            "time/iterations": self.iterations,
            "time/time_elapsed": self.seconds,
            "time/total_timesteps": self.frames,
            "rollout/episodes": self.episodes,
        }
        if len(self.recent):
            row["rollout/window"] = self.window
        row |= {f"rollout/{name}": mean for name, mean in self.means().items()}
        different = [*dict.fromkeys(levels)]
        for level in different if len(different) > 1 else ():
            tasks = [task for task, other in enumerate(levels) if other == level]
            row |= {f"rollout/{level}/{name}": mean for name, mean in self.means(tasks).items()}
        return row

    @property
    def success_rate(self) -> float:
        """Success rate over the windows; NaN before there is an episode."""
        return float(self.recent[:, 2].mean())

    @property
    def window(self) -> int:
        """Number of episodes in the smallest of the tasks' windows."""
        return min(int((self.recent[:, 4] == task).sum()) for task in range(self.tasks))

    def is_fair(self) -> bool:
        """Whether all windows are full."""
        return self.window == WINDOW
