"""Agents: one encoder and heads for all, a core found by its name, and presets."""

from .kernels.compiling import definitions
from .policy import PolicyConfig, RecurrentPolicy
from .presets import SEARCH_SPACE

__all__ = ["SEARCH_SPACE", "PolicyConfig", "RecurrentPolicy", "definitions"]
