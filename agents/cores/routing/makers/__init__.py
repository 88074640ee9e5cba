"""Decision makers: settings and update rule, found by name. A new file, here or of your own, has
both::

    @register("decision maker", "mine")
    @dataclass(frozen=True)
    class MyConfig(MakerConfig):
        rate: float = 0.1

        def build(self, space, available):
            return MyMaker(self, space)

A decision maker draws choices by its scores, and learns from a trace of decisions. It never updates
the function blocks; training them is up to the caller.
"""

from __future__ import annotations

from metarims.registry import import_modules

from .base import DecisionMaker, MakerConfig

__all__ = ["DecisionMaker", "MakerConfig"]

import_modules(__name__)
