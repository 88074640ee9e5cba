"""``record``: an agent at work, as a GIF or a video."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import UsageError, check_between, check_positive, check_seed
from ..evaluation import SEED
from ..files import check_writable
from ..runs import load_run
from ..studies.recording import outcome, record_episodes, save_gif, save_mp4
from .base import RunFolder, Wiring, check_levels, load_agent, make_env

FORMATS = {".gif": save_gif, ".mp4": save_mp4}


@dataclass(frozen=True)
class Record:
    """Record an agent at work as a GIF or a video, with its modules and its value alongside.

    Attributes:
        run_folder: the folder of one run.
        out: output file, which ends in .gif or .mp4.
        env: level id (default: the first training level).
        episodes: number of episodes.
        frames: maximum number of pictures in total.
        seed: seed of the episodes and the actions.
        temperature: temperature of the policy, see `evaluate`.
        checkpoint: "best" or a number of frames (default: the newest).
    """

    run_folder: RunFolder
    out: Path
    env: str = ""
    episodes: int = 5
    frames: int = 500
    seed: int = SEED
    temperature: float = 1.0
    checkpoint: str = ""

    def run(self, wiring: Wiring) -> None:
        """Record."""
        check_positive(episodes=self.episodes, frames=self.frames)
        check_seed(self.seed)
        check_between(0, math.inf, temperature=self.temperature)
        check_writable(self.out)
        save = FORMATS.get(self.out.suffix.lower())
        if save is None:
            endings = " or ".join(FORMATS)
            raise UsageError(f"cannot record {self.out}: its name must end in {endings}")
        run = load_run(self.run_folder)
        trained, make = run.config.environment, wiring.simulator.make
        level = self.env or trained.env[0]
        check_levels(wiring.simulator, (level,))
        env = make_env(make, trained.elsewhere((level,), 1), "cpu", self.seed, autoreset=False)
        agent = load_agent(run, env, run.load(self.checkpoint))
        episodes = record_episodes(agent, env, self.episodes, self.seed, self.temperature)
        frames = list(islice(episodes, self.frames))
        save(frames, self.out)
        print(f"{self.out}: {level}, {outcome(frames)}")
