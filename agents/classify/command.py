"""``classify``: routing networks as multi-task classifiers."""

from __future__ import annotations

from dataclasses import dataclass
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
            20 function blocks; "study" is the study of gradient estimators.
        out: folder for tables and figures.
    """

    what: Positional[Literal["compare", "cost", "study"]] = "compare"
    out: Path = Path("runs/classify")

    def run(self, wiring: object) -> None:
        """Print the tables and leave the figures."""
        torch.set_num_threads(1)
        REPORTS[self.what](self, self.out)
        print(f"figures and tables in {self.out}")
