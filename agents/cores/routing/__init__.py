"""The routing core (Rosenbaum et al. 2018, 2019).

| file | has |
|---|---|
| ``core`` | the core: its settings, its state, what of an observation its router sees |
| ``network`` | the routing network: a path of function blocks for every sample |
| ``blocks`` | function blocks side by side |
| ``router`` | who decides, and by which scores |
| ``makers`` | decision makers, each one file: how to choose, and how to learn from it |
| ``trace`` | the decisions and what they earned |
"""

from .core import RoutingConfig, RoutingCore

__all__ = ["RoutingConfig", "RoutingCore"]
