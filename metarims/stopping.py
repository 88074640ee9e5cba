"""Stopping on request: Ctrl-C, or a cluster that wants its machine back (SIGTERM)."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = (signal.SIGINT, signal.SIGTERM)
GRACE = 5.0  # seconds for current work to finish
AGAIN = 0.05  # seconds until a `Stopped` that was swallowed is raised again
SERVED = "METARIMS_SERVES"  # environment variable: id of the process that this one serves


class Stopped(KeyboardInterrupt):
    """A command was told to stop by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as in a shell."""
        return 128 + self.number


@contextmanager
def told_to_repeat() -> Iterator[None]:
    """If stopped within it, print that the same command resumes."""
    try:
        yield
    except Stopped:
        print("\nstopped; run the same command again to resume", file=sys.stderr)
        raise


class Told:
    """The signal received, 0 for none."""

    def __init__(self) -> None:
        self.number = 0

    def raise_if_so(self) -> None:
        """Raise `Stopped` if there was a signal."""
        if self.number:
            raise Stopped(self.number)

    def is_in_time(self) -> None:
        """Cancel the grace period: the current work has finished, and the rest may, too."""
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def hearing() -> Iterator[None]:
    """Within it, both signals raise `Stopped`."""
    told = Told()

    def stop(number: int, _: FrameType | None) -> None:
        if number in HEARD:
            told.number = number
        told.raise_if_so()

    with _handling(stop):
        yield


@contextmanager
def noting() -> Iterator[Told]:
    """Within it, the first signal is noted, for work that must finish cleanly; a second one, or the
    end of `GRACE`, raises `Stopped` at once.
    """
    told = Told()

    def note(number: int, _: FrameType | None) -> None:
        if number in HEARD and not told.number:
            told.number = number
            signal.setitimer(signal.ITIMER_REAL, GRACE)
        elif number in HEARD:
            raise Stopped(number)
        else:
            told.raise_if_so()

    with _handling(note):
        try:
            yield told
        finally:
            if told.number:
                told.is_in_time()


def is_left_alone() -> bool:
    """Whether the process that this one serves, if any, has ended."""
    return os.environ.get(SERVED, str(os.getppid())) != str(os.getppid())


def serving() -> dict[str, str]:
    """The environment for a process that serves this one."""
    return {**os.environ, SERVED: str(os.getpid())}


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle both signals and the alarm, and restore their handlers afterwards; only in the main
    thread. A `Stopped` that is swallowed, as in a compiler's callback, is raised again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unheard(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, Stopped):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            hook(lost)

    before = {number: signal.signal(number, handler) for number in (*HEARD, signal.SIGALRM)}
    hook, sys.unraisablehook = sys.unraisablehook, unheard
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, old in before.items():
            signal.signal(number, old)
