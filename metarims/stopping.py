"""Being told to stop: by Ctrl-C, or by a cluster that wants its machine back (SIGTERM)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = (signal.SIGINT, signal.SIGTERM)


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


@contextmanager
def hearing() -> Iterator[None]:
    """Within it both signals end the command by `Stopped`."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    with _handling(stop):
        yield


@contextmanager
def noting() -> Iterator[Told]:
    """Within it the first signal is noted, for work that must come to a good end; the second one
    ends it at once.
    """
    told = Told()

    def note(number: int, _: FrameType | None) -> None:
        if told.number:
            raise Stopped(number)
        told.number = number

    with _handling(note):
        yield told


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Give both signals a handler, and after that their own again; only a main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in HEARD}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
