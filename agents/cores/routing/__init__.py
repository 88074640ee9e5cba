"""The routing core (Rosenbaum et al. 2018, 2019).

| file | contents |
|---|---|
| ``core`` | the core: its settings, its state, what its router sees of an observation |
| ``network`` | the routing network: a path of function blocks for every sample |
| ``blocks`` | function blocks |
| ``router`` | what decides, and by which scores |
| ``makers`` | decision makers, a file each: how to choose, and how to learn from it |
| ``trace`` | the decisions and their rewards |
"""

from .core import RoutingConfig, RoutingCore

__all__ = ["RoutingConfig", "RoutingCore"]
