"""Diagnostics: functions from a rollout to named figures, each found by its name.

Everything in the diagnostics of an agent's output is reported: by the diagnostic that reads it or,
if there is none, as its mean; what has no mean is an error. A custom diagnostic::

    @diagnostic("value_spread")
    def value_spread(rollout):
        return {"value/spread": rollout.values.std()}
"""

from __future__ import annotations

from ..registry import import_modules
from .base import Diagnostic, diagnose, diagnostic

__all__ = ["Diagnostic", "diagnose", "diagnostic"]

import_modules(__name__)
