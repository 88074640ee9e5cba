"""How a rule of the game is compiled: to be called by other compiled code, and by nothing else.

Without entries for Python and C a level's first call compiles a quarter faster.
"""

from __future__ import annotations

from numba import njit

rule = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
