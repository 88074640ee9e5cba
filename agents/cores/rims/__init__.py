"""Recurrent Independent Mechanisms as a core.

`cell` is the definition, to be read and changed; `compiled` is the same function made fast on CPUs,
`fused` on GPUs; `forms` chooses. A new attention or dynamics is a function and a table entry in
`cell`; what the fast forms do not cover runs by the definition.
"""

from .cell import RIMs
from .config import RIMsConfig

__all__ = ["RIMs", "RIMsConfig"]
