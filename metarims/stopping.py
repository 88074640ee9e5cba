"""Being told to stop: by Ctrl-C, or by a cluster that wants its machine back (SIGTERM)."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = (signal.SIGINT, signal.SIGTERM)
GRACE = 5.0  # seconds that work which is under way has to come to an end
AGAIN = 0.05  # seconds until one is raised again that nobody heard
SERVED = "METARIMS_SERVES"  # environment variable: the process that this one was started to serve


class Stopped(KeyboardInterrupt):
    """A command was told to stop, by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as a shell has it."""
        return 128 + self.number


@contextmanager
def told_to_repeat() -> Iterator[None]:
    """Who is told to stop within it ends by saying how to go on: by the same command."""
    try:
        yield
    except Stopped:
        print("\nstopped; the same command goes on", file=sys.stderr)
        raise


class Told:
    """Which signal has been heard, 0 for none."""

    def __init__(self) -> None:
        self.number = 0

    def raise_if_so(self) -> None:
        """Stop, now that it can be done."""
        if self.number:
            raise Stopped(self.number)

    def is_in_time(self) -> None:
        """What was under way has come to an end, and what is left will be done, too."""
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def hearing() -> Iterator[None]:
    """Within it both signals end the command by `Stopped`."""
    told = Told()

    def stop(number: int, _: FrameType | None) -> None:
        if number in HEARD:
            told.number = number
        told.raise_if_so()

    with _handling(stop):
        yield


@contextmanager
def noting() -> Iterator[Told]:
    """Within it the first signal is noted, for work that must come to a good end; a second one, or
    `GRACE` running out, ends it at once.
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
    """Whether the process that this one serves, if it serves one, has ended."""
    return os.environ.get(SERVED, str(os.getppid())) != str(os.getppid())


def serving() -> dict[str, str]:
    """The environment of a process that serves this one."""
    return {**os.environ, SERVED: str(os.getpid())}


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Give both signals and the alarm a handler, and after that their own again; only a main thread
    may. A `Stopped` raised where nobody hears it, as in a compiler's call back, comes again.
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
