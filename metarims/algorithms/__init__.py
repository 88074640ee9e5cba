"""Algorithms: one file each, with settings and a loss; PPO is one.

Whatever the algorithm, a training iteration collects rollouts and cuts them into spans (see
`metarims.learner`). The algorithm defines the learning targets of a rollout, and the loss.
"""

from __future__ import annotations

from ..registry import import_modules
from .base import AlgorithmConfig, Figures, Loss

__all__ = ["AlgorithmConfig", "Figures", "Loss"]

import_modules(__name__)
