"""All levels, a file a theme: importing this package registers those of every file in it.

A file that is put here is found by itself; files come in the order of their names.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
