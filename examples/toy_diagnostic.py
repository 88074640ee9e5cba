"""Custom diagnostics: how spread the values are, and how often an action is repeated.

python run.py train --import examples/toy_diagnostic.py --env MiniGrid-DoorKey-5x5-v0 --out RUN
"""

from __future__ import annotations

from torch import Tensor

from metarims.diagnostics import diagnostic
from metarims.rollout import Rollout


@diagnostic("values_and_habits")
def values_and_habits(rollout: Rollout) -> dict[str, Tensor]:
    """Scalars of a rollout, by their names in TensorBoard."""
    repeated = rollout.actions[1:] == rollout.actions[:-1]
    return {"value/spread": rollout.values.std(), "habit/repeated": repeated.float().mean()}
