"""Progress of long tasks: a line that changes on a terminal, otherwise a line now and then."""

from __future__ import annotations

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
        self._next = time.monotonic() + PLAIN_AFTER

    def show(self, line: Callable[[], str]) -> None:
        """Show the current status; `line` is called only if it will be shown."""
        if self._console.is_terminal:
            self._status.update(line())
        elif time.monotonic() > self._next:
            print(line(), flush=True)
            self._next = time.monotonic() + PLAIN_EVERY

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def status_line() -> Iterator[StatusLine]:
    """A status line, shown within the context."""
    console = Console()
    with console.status("") as status:
        yield StatusLine(console, status)
