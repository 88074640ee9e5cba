"""Recurrent Independent Mechanisms as a core.

`cell` is the definition, to be read and changed; `compiled` is the same function, to be fast on a
CPU, and `fused` on a GPU; `forms` chooses. A variant of a piece, an attention or a dynamics, is a
function and a row in `cell`; what the others do not have runs by the definition.
"""

from .cell import RIMs
from .config import RIMsConfig

__all__ = ["RIMs", "RIMsConfig"]
