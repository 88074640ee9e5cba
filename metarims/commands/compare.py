"""``compare``: runs side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import check_between
from ..files import check_writable, write_json
from ..runs import load_runs
from ..studies.compare import compare, comparison_table, note_differences
from ..studies.curves import TARGET
from ..studies.onward import onward_markdown, read_onward
from .base import RunFolders, Wiring


@dataclass(frozen=True)
class Compare:
    """Compare runs: interquartile means over seeds with 95 % intervals and, for runs that continue
    others (`train --from`), the frames that took.

    Attributes:
        runs: run folders, or folders of runs as left by `train --seeds`.
        target: success rate to report the required frames for.
        json: JSON file for the results.
    """

    runs: RunFolders
    target: float = TARGET
    json: Path | None = None

    def run(self, wiring: Wiring) -> None:
        """Print a row per level, agent and settings, and tables of runs that continue others."""
        check_between(0, 1, target=self.target)
        check_writable(self.json)
        runs = load_runs(self.runs)
        note_differences(runs)
        rows = compare(runs, self.target)
        print(comparison_table(rows, self.target))
        if onward := read_onward(runs, self.target):
            print(f"\n{onward_markdown(onward, self.target)}", end="")
        write_json(self.json, [asdict(row) for row in rows])
