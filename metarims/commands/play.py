"""``play``: a level for a person to play."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import as_usage_errors, check_seed
from .base import LevelId, Wiring, check_levels


def has_display() -> bool:
    """Whether there is a display to open a window on."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


@dataclass(frozen=True)
class Play:
    """Play a level yourself, in a window or in the terminal; the screen shows the keys.

    Attributes:
        id: level id.
        seed: seed of the first episode.
        view: width of the agent's square view in cells, odd, 3 to 31.
        agent_view: show only what the agent sees.
        window: play in a window rather than in the terminal (default: if there is a display).
    """

    id: LevelId
    seed: int = 0
    view: int = 7
    agent_view: bool = False
    window: bool = field(default_factory=has_display)
    imported: tuple[Path, ...] = ()

    def run(self, wiring: Wiring) -> None:
        """Play, and print how it went."""
        check_seed(self.seed)
        check_levels(wiring.simulator, (self.id,))
        with as_usage_errors():
            print(wiring.play(self.id, self.seed, self.view, self.agent_view, self.window))
