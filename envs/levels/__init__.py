"""All levels, one file per theme: importing this package registers those of every file in it.

New files are found automatically; files are imported in alphabetical order.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
