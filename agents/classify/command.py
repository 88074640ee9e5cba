"""``classify``: routing networks as multi-task classifiers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import torch
from tyro.conf import Positional

from .config import ClassifyConfig
from .reports import REPORTS


@dataclass(frozen=True)
class Classify(ClassifyConfig):
    """Train routing networks as multi-task classifiers, and the baselines for them.

    Attributes:
        what: "compare" trains every method with every seed; "cost" times training steps with 2 to
            20 function blocks; "estimators" studies gradient estimators; "collapse", "optimisers"
            and "split" study what a router needs, and continue if interrupted. All but "compare"
            refuse the settings that they fix themselves.
        out: folder for tables and figures.
    """

    what: Positional[
        Literal["compare", "cost", "estimators", "collapse", "optimisers", "split"]
    ] = "compare"
    out: Path = Path("runs/classify")

    def run(self, wiring: object) -> None:
        """Print the tables and write tables and figures."""
        torch.set_num_threads(1)
        REPORTS[self.what](self.settings(), self.out)
        print(f"figures and tables in {self.out}")

    def settings(self) -> ClassifyConfig:
        """The comparison's settings alone."""
        own = {field.name: getattr(self, field.name) for field in fields(ClassifyConfig)}
        return ClassifyConfig(**own)
