"""How a rule of the game is compiled: to be called by other compiled code, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types


def rule(function: Callable[..., Any]) -> Any:
    """Compile a function once, be its whole numbers constants or of whatever width.

    Numba would compile it anew for each width, and for each constant that it is called with; a
    level's first call would take twice as long. There are no entries for Python and C either.
    """
    compiled = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    find_template = compiled.get_call_template

    def find_widened(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return find_template(
            tuple(widen(arg) for arg in args), {name: widen(kws[name]) for name in kws}
        )

    compiled.get_call_template = find_widened
    return compiled


def widen(kind: Any) -> Any:
    """int64 for signed and small unsigned integers, be they constants; other types as they are."""
    kind = types.unliteral(kind)
    if isinstance(kind, types.Integer) and (kind.signed or kind.bitwidth < 64):
        return types.int64
    return kind
