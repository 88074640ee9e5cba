"""``levels``: what can be trained on."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from tyro.conf import Positional

from ..errors import check_choice
from .base import Wiring


@dataclass(frozen=True)
class Levels:
    """List the levels that can be trained on.

    Attributes:
        pattern: part of a name, or a pattern such as '*doorkey*'; case-insensitive.
    """

    pattern: Positional[str] = "*"

    def run(self, wiring: Wiring) -> None:
        """Print the ids that match."""
        known = wiring.simulator.levels()
        pattern = self.pattern if "*" in self.pattern else f"*{self.pattern}*"
        found = [id for id in known if fnmatch.fnmatchcase(id.lower(), pattern.lower())]
        if not found:
            check_choice("level", self.pattern, known)
        print("\n".join(found))
