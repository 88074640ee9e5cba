"""When to checkpoint a run, and when to stop it."""

from __future__ import annotations

import time

from . import ranks
from .stopping import GRACE, Told, is_left_alone

MINUTE = 60.0  # seconds; a run that is killed loses at most this, or one iteration
LONG = GRACE / 2  # seconds; an iteration longer than this may not finish after a stop signal


class Clock:
    """Tells when a checkpoint is due: after `every` frames, a minute, or an iteration so long that
    the next one might not finish after a stop signal.
    """

    def __init__(self, frames: int, every: int) -> None:
        self._saved, self._every = frames, every
        self._then = self._begun = time.monotonic()

    def is_due(self, frames: int) -> bool:
        """Whether a checkpoint is due, on any rank, after an iteration that ends at `frames`."""
        now, begun = time.monotonic(), self._begun
        self._begun = now
        late = ranks.any_of(now - self._then > MINUTE or now - begun > LONG)
        return late or frames - self._saved >= self._every

    def saved(self, frames: int) -> None:
        """Note a checkpoint at `frames`."""
        self._saved, self._then = frames, time.monotonic()
        self._begun = self._then


def is_to_stop(told: Told) -> bool:
    """Whether any rank was told to stop, or serves a process that has ended; the current work
    counts as finished in time.
    """
    stop = ranks.any_of(told.number > 0 or is_left_alone())
    if stop:
        told.is_in_time()
    return stop
