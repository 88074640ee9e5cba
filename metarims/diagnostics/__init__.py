"""Diagnostics: functions of a rollout to named figures, each found by its name.

Whatever an agent puts among its output's diagnostics is reported: by the diagnostic that reads it,
or, where there is none, as its mean; what has no mean is refused aloud. A diagnostic of one's own::

    @diagnostic("value_spread")
    def value_spread(rollout):
        return {"value/spread": rollout.values.std()}
"""

from __future__ import annotations

from ..registry import import_modules
from .base import Diagnostic, diagnose, diagnostic

__all__ = ["Diagnostic", "diagnose", "diagnostic"]

import_modules(__name__)
