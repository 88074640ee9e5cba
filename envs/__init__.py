"""MiniGrid and BabyAI, batched: equal to upstream seed for seed, a thousand times faster."""

from . import levels as _levels  # noqa: F401
from .batch import Environments, make
from .gym import register_levels
from .interface import Step
from .registry import level, levels

__all__ = ["Environments", "Step", "level", "levels", "make"]

register_levels()
