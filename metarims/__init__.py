"""Meta-RIMs: modules and attention trained in a fast and a slow loop."""

from .config import EnvironmentConfig, RunConfig, RunSettings
from .errors import UsageError
from .evaluation import Evaluation, evaluate
from .loops import Loop, Loops
from .monitor import Onlookers
from .protocols import Agent, AgentConfig, Environment, Output
from .registry import register
from .runs import Run, load_run
from .training import Summary, resume, train

__all__ = [
    "Agent",
    "AgentConfig",
    "Environment",
    "EnvironmentConfig",
    "Evaluation",
    "Loop",
    "Loops",
    "Onlookers",
    "Output",
    "Run",
    "RunConfig",
    "RunSettings",
    "Summary",
    "UsageError",
    "evaluate",
    "load_run",
    "register",
    "resume",
    "train",
]
