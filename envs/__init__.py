"""MiniGrid and BabyAI, batched: equal to upstream seed for seed, a thousand times faster."""

from . import levels as _levels  # noqa: F401
from .batch import Environments
from .events import find_events
from .gym import register_levels
from .interface import Step
from .making import make
from .registry import check_level, level, levels

__all__ = ["Environments", "Step", "check_level", "find_events", "level", "levels", "make"]

register_levels()
