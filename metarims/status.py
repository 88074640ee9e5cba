"""How far something is that takes long: a line that changes on a terminal, else a line at times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

PLAIN_EVERY = 10.0  # seconds between lines where the output is no terminal
PLAIN_AFTER = 3.0  # seconds before the first of them


class StatusLine:
    """What `status_line` gives."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status = console, status
        self._next = time.monotonic() + PLAIN_AFTER

    def show(self, line: Callable[[], str]) -> None:
        """How it stands now; asked for where it is going to be shown."""
        if self._console.is_terminal:
            self._status.update(line())
        elif time.monotonic() > self._next:
            print(line(), flush=True)
            self._next = time.monotonic() + PLAIN_EVERY

    def say(self, line: str) -> None:
        """Something that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def status_line() -> Iterator[StatusLine]:
    """While it is open it shows how far something is."""
    console = Console()
    with console.status("") as status:
        yield StatusLine(console, status)
