"""Cores: the recurrent part of an agent; each is a file or package, found by name.

A core is what its registered configuration builds. A file of your own has both::

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
