"""Decision makers: each one's settings and its update, found by name; a new file here, or one of a
user's own, has both::

    @register("decision maker", "mine")
    @dataclass(frozen=True)
    class MyConfig(MakerConfig):
        rate: float = 0.1

        def build(self, space, available):
            return MyMaker(self, space)

A decision maker says how a choice is drawn from its scores, and learns from a trace of decisions.
Learning never moves the function blocks; how they learn is the caller's affair.
"""

from __future__ import annotations

from metarims.registry import import_modules

from .base import DecisionMaker, MakerConfig

__all__ = ["DecisionMaker", "MakerConfig"]

import_modules(__name__)
