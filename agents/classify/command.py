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
    """Train routing networks as multi-task classifiers, beside their baselines.

    Attributes:
        what: "compare" trains every method with every seed; "cost" times training steps from 2 to
            20 function blocks; "estimators" is a study of their gradients; "collapse",
            "optimisers" and "split" are studies of what a router needs, and a stopped one goes on.
        out: folder for tables and figures.
    """

    what: Positional[
        Literal["compare", "cost", "estimators", "collapse", "optimisers", "split"]
    ] = "compare"
    out: Path = Path("runs/classify")

    def run(self, wiring: object) -> None:
        """Print the tables and leave the figures."""
        torch.set_num_threads(1)
        REPORTS[self.what](self.settings(), self.out)
        print(f"figures and tables in {self.out}")

    def settings(self) -> ClassifyConfig:
        """What it has of a comparison's settings."""
        own = {field.name: getattr(self, field.name) for field in fields(ClassifyConfig)}
        return ClassifyConfig(**own)
