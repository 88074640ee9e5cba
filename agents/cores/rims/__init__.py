"""Recurrent Independent Mechanisms as a core: `cell` is where to begin."""

from .cell import RIMs
from .config import RIMsConfig

__all__ = ["RIMs", "RIMsConfig"]
