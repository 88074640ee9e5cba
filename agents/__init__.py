"""Agents: a shared encoder and heads, a core chosen by name, and presets."""

from .experiments import EXPERIMENTS
from .kernels.compiling import definitions
from .policy import PolicyConfig, RecurrentPolicy
from .presets import SEARCH_SPACE

__all__ = ["EXPERIMENTS", "SEARCH_SPACE", "PolicyConfig", "RecurrentPolicy", "definitions"]
