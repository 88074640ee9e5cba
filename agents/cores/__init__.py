"""Cores: the part of an agent that remembers; each one file, or package, found by its name.

A core is what its registered configuration builds. A file of one's own has both::

    @register("core", "mine")
    @dataclass(frozen=True)
    class MyConfig(CoreConfig):
        hidden: int = 64

        def build(self, inputs, spec, levels):
            return MyCore(self, inputs)
"""

from __future__ import annotations

from metarims.registry import import_modules

from .base import Core, CoreConfig, CoreOutput

__all__ = ["Core", "CoreConfig", "CoreOutput"]

import_modules(__name__)
