"""Tables as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a final newline."""
    first, *others = (f"| {' | '.join(row)} |" for row in (head, *rows))
    return "\n".join([first, "|---" * len(head) + "|", *others])


def plain_table(head: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[str]) -> str:
    """A table as text, each column as wide as its widest cell; those titled as in `words` begin at
    the left, numbers at the right.
    """
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    marks = ["<" if title in words else ">" for title in head]
    aligned = [
        [f"{cell:{mark}{width}}" for cell, mark, width in zip(line, marks, widths, strict=True)]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def csv_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """As comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()
