"""Progress of long tasks, on stderr: a line that changes on a terminal, otherwise a new line now
and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

PLAIN_EVERY = 10.0  # seconds between lines if the output is not a terminal
PLAIN_AFTER = 3.0  # seconds before the first of them


class StatusLine:
    """A status line, see `status_line`."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status = console, status
        self._next, self._last = time.monotonic() + PLAIN_AFTER, ""

    def show(self, line: Callable[[], str]) -> None:
        """Show the current status; `line` is called only if it will be shown."""
        if self._console.is_terminal:
            self._status.update(line())
        elif time.monotonic() > self._next:
            if (now := line()) != self._last:
                print(now, file=sys.stderr, flush=True)
            self._next, self._last = time.monotonic() + PLAIN_EVERY, now

    def say(self, line: str) -> None:
        """Print a line of progress that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def give(self, line: str) -> None:
        """Print a line of the result, to stdout."""
        self._status.stop()  # while it is shown, a terminal gets all output on stderr
        print(line, flush=True)
        if self._console.is_terminal:
            self._status.start()


@contextmanager
def status_line() -> Iterator[StatusLine]:
    """A status line, shown within the context."""
    console = Console(stderr=True)
    with console.status("") as status:
        yield StatusLine(console, status)
