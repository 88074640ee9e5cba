"""Algorithms: each one file with its settings and its loss; PPO is one.

A training iteration collects rollouts and cuts them into spans whatever the algorithm (see
`metarims.learner`). An algorithm says what there is to learn from a rollout, and by which loss.
"""

from __future__ import annotations

from ..registry import import_modules
from .base import AlgorithmConfig, Figures, Loss

__all__ = ["AlgorithmConfig", "Figures", "Loss"]

import_modules(__name__)
