"""Being told to stop: by Ctrl-C, or by a cluster that wants its machine back (SIGTERM)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = (signal.SIGINT, signal.SIGTERM)
GRACE = 5.0  # seconds that work which is under way has to come to an end
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

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    with _handling(stop):
        yield


@contextmanager
def noting() -> Iterator[Told]:
    """Within it the first signal is noted, for work that must come to a good end; a second one, or
    `GRACE` running out, ends it at once.
    """
    told = Told()

    def note(number: int, _: FrameType | None) -> None:
        if told.number:
            raise Stopped(number)
        told.number = number
        signal.setitimer(signal.ITIMER_REAL, GRACE, 1)  # again, where nobody hears an exception

    def end(_: int, __: FrameType | None) -> None:
        told.raise_if_so()

    with _handling(note), _handling(end, (signal.SIGALRM,)):
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
def _handling(
    handler: Callable[[int, FrameType | None], None], numbers: Iterable[int] = HEARD
) -> Iterator[None]:
    """Give signals a handler, and after that their own again; only a main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
