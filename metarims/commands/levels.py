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
        pattern: part of a name, or a pattern such as '*doorkey*'; case and punctuation do not
            matter.
    """

    pattern: Positional[str] = "*"

    def run(self, wiring: Wiring) -> None:
        """Print the ids that match."""
        known = wiring.simulator.levels()
        pattern = bare(self.pattern if "*" in self.pattern else f"*{self.pattern}*")
        found = [id for id in known if fnmatch.fnmatchcase(bare(id), pattern)]
        if not found:
            check_choice("level", self.pattern, known)
        print("\n".join(found))


def bare(text: str) -> str:
    """A name or a pattern in lower case, without punctuation."""
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter in "*?")
