"""MiniGrid and BabyAI, batched and equal to upstream seed for seed."""

from . import levels as _levels  # noqa: F401
from .batch import Environments
from .demonstrations import demonstrate, read_demonstrations, read_level
from .events import find_events
from .interface import Step
from .making import make
from .registry import check_level, level, levels
from .rules import rule

__all__ = [
    "Environments",
    "Step",
    "check_level",
    "demonstrate",
    "find_events",
    "level",
    "levels",
    "make",
    "read_demonstrations",
    "read_level",
    "rule",
]
