"""Meta-RIMs: modules and attention trained in a fast and a slow loop."""

from .config import EnvironmentConfig, RunConfig, RunSettings
from .errors import UsageError
from .evaluation import Evaluation, evaluate, follow
from .loops import Loop, Loops
from .monitor import Onlookers
from .protocols import Agent, AgentConfig, Environment, Output
from .registry import register
from .rollout import Moment
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
    "Moment",
    "Onlookers",
    "Output",
    "Run",
    "RunConfig",
    "RunSettings",
    "Summary",
    "UsageError",
    "evaluate",
    "follow",
    "load_run",
    "register",
    "resume",
    "train",
]
