"""Meta-RIMs: recurrent independent mechanisms, learnt by a fast and a slow loop."""

from .config import TrainConfig
from .errors import UsageError
from .evaluation import Evaluation, evaluate
from .protocols import Agent, Environment, Output
from .rims import RIMs, RIMsConfig
from .runs import Run, load_run
from .schedule import Loop, Schedule
from .training import Summary, resume, train

__all__ = [
    "Agent",
    "Environment",
    "Evaluation",
    "Loop",
    "Output",
    "RIMs",
    "RIMsConfig",
    "Run",
    "Schedule",
    "Summary",
    "TrainConfig",
    "UsageError",
    "evaluate",
    "load_run",
    "resume",
    "train",
]
