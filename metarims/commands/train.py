"""``train`` and ``resume``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..config import RunConfig
from ..errors import check_positive
from ..runs import load_run
from ..settings import replace_at
from ..training import Summary, resume, train
from .base import RunFolder, Wiring, build, resolve_device


@dataclass(frozen=True)
class Train:
    """Train an agent.

    Attributes:
        config: the run.
    """

    config: RunConfig

    def run(self, wiring: Wiring) -> None:
        """Train and say where everything is."""
        config = replace_at(self.config, {"device": resolve_device(self.config.run.device)})
        with told_how_to_resume(config.run.out):
            show(train(config, *build(wiring.simulator.make, config)))


@dataclass(frozen=True)
class Resume:
    """Go on with a run exactly where its last checkpoint stands.

    Attributes:
        run_folder: the run's folder.
        frames: go on to this many frames in all (default: as planned).
    """

    run_folder: RunFolder
    frames: int | None = None

    def run(self, wiring: Wiring) -> None:
        """Train on."""
        if self.frames is not None:
            check_positive(frames=self.frames)
        run = load_run(self.run_folder)
        with told_how_to_resume(self.run_folder):
            show(resume(run, *build(wiring.simulator.make, run.config), frames=self.frames))


@contextmanager
def told_how_to_resume(folder: str) -> Iterator[None]:
    """Ctrl-C ends training with the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped; go on with: python run.py resume {folder}", file=sys.stderr)
        raise


def show(summary: Summary) -> None:
    """Say how a training went and where everything is."""
    print(
        f"{summary.frames:,} frames in {summary.seconds:.0f} s, "
        f"success rate {summary.success_rate:.1%}\n"
        f"logs        tensorboard --logdir {summary.path}\n"
        f"checkpoint  {summary.path / 'checkpoints'}"
    )
