"""When a run is kept, and when it is to stop."""

from __future__ import annotations

import time

from . import ranks
from .stopping import GRACE, Told, is_left_alone

MINUTE = 60.0  # seconds, the most that a run loses when it is cut off, or one iteration
LONG = GRACE / 2  # seconds of an iteration that may not come to an end once it is told to stop


class Clock:
    """Tells when a checkpoint is due: after so many frames, a minute, or an iteration so long that
    the next may not come to an end once it is told to stop.
    """

    def __init__(self, frames: int, every: int) -> None:
        self._saved, self._every = frames, every
        self._then = self._begun = time.monotonic()

    def is_due(self, frames: int) -> bool:
        """Whether it is, on any rank, after an iteration that ends with so many frames."""
        now, begun = time.monotonic(), self._begun
        self._begun = now
        late = ranks.any_of(now - self._then > MINUTE or now - begun > LONG)
        return late or frames - self._saved >= self._every

    def saved(self, frames: int) -> None:
        """There is one of so many frames now."""
        self._saved, self._then = frames, time.monotonic()
        self._begun = self._then


def is_to_stop(told: Told) -> bool:
    """Whether any rank was told to, or serves a process that has ended; what is under way has then
    come to an end.
    """
    stop = ranks.any_of(told.number > 0 or is_left_alone())
    if stop:
        told.is_in_time()
    return stop
