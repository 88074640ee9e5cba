"""What agents look like in figures: short names, one colour each in all of them, one legend."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import cycle, filterfalse, takewhile
from typing import TYPE_CHECKING
from zlib import crc32

from ..registry import names
from .compare import parts_of
from .onward import SCRATCH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = re.compile(r"(?=-)|(?<=-)|(?<=[a-z])(?=[A-Z])")  # of a level's id, each dash one
LINES = ("-", "--", ":", "-.")
LETTER = 0.095  # inches, of a title
# Okabe and Ito's colours but yellow, and a gray; then most of Tol's "muted" ones, and some more.
FIXED = ("#009E73", "#E69F00", "#0072B2", "#56B4E9", "#CC79A7", "#D55E00", "#000000", "#999999")
FURTHER = (
    *("#882255", "#332288", "#999933", "#AA4499", "#661100"),
    *("#DDCC77", "#6699CC", "#EE3377", "#117733"),
)


def colors(kinds: Iterable[str]) -> dict[str, str]:
    """A colour for each kind of agent in a figure, the same whatever their order.

    The presets registered first have `FIXED` ones, each its own in every figure. Any other name has
    one of `FURTHER`, by a hash of it; where that is taken by a name before it in the alphabet the
    next one that is free, then a fixed one, and its own all the same where none is free.
    """
    known = dict(zip(names("preset"), FIXED, strict=False))
    kinds = dict.fromkeys(kinds)
    found = {kind: known[kind] for kind in kinds if kind in known}
    for kind in sorted({*kinds} - {*found}):
        own = crc32(kind.encode()) % len(FURTHER)
        order = (*FURTHER[own:], *FURTHER[:own], *FIXED)
        found[kind] = next((color for color in order if color not in found.values()), order[0])
    return {kind: found[kind] for kind in kinds}


@dataclass(frozen=True)
class Look:
    """How an agent is shown: its name, and the colour and kind of its line."""

    name: str
    color: str
    line: str


def looks(labels: Iterable[str]) -> tuple[str, dict[str, Look]]:
    """The settings that all agents of a figure share, and how each is shown, by its label, named
    without these. A colour says which agent, a line that is not whole what it began from.
    """
    parts = {label: parts_of(label) for label in labels}
    shared = set.intersection(*({*own[1:]} for own in parts.values())) if parts else set()
    common = " ".join(part for part in next(iter(parts.values()), []) if part in shared)
    named = {
        label: [own[0], *(part for part in own[1:] if part not in shared)]
        for label, own in parts.items()
    }
    starts = {label: next(filter(_is_start, own), SCRATCH) for label, own in named.items()}
    kinds = {label: " ".join(filterfalse(_is_start, own)) for label, own in named.items()}
    known = [SCRATCH, *dict.fromkeys(start for start in starts.values() if start != SCRATCH)]
    lines, color = dict(zip(known, cycle(LINES), strict=False)), colors(kinds.values())
    return common, {
        label: Look(" ".join(own), color[kinds[label]], lines[starts[label]])
        for label, own in named.items()
    }


def counted_looks(panels: Iterable[Mapping[str, Sized]]) -> tuple[str, dict[str, Look]]:
    """As `looks`, for all panels of a figure; names say how many runs there are."""
    panels = list(panels)
    shared, shown = looks(label for panel in panels for label in panel)
    counts = seeds(panels)
    return shared, {
        label: replace(look, name=f"{look.name} ({counts[label]})") for label, look in shown.items()
    }


def _is_start(part: str) -> bool:
    return part.startswith("from ")


def seeds(panels: Iterable[Mapping[str, Sized]]) -> dict[str, str]:
    """Of how many runs an agent's lines are, the fewest and the most of a figure's panels."""
    counts: dict[str, set[int]] = {}
    for panel in panels:
        for label, runs in panel.items():
            counts.setdefault(label, set()).add(len(runs))
    return {
        label: " – ".join(str(count) for count in sorted({min(each), max(each)}))
        for label, each in counts.items()
    }


def add_legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend below all axes, which has each label once; the figure grows by it."""
    handles = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    if handles:
        width = 0.5 + 0.068 * max(map(len, handles))  # inches of an entry
        columns = max(1, min(len(handles), int(figure.get_figwidth() / width)))
        figure.set_figheight(figure.get_figheight() + 0.2 + 0.2 * math.ceil(len(handles) / columns))
        shown = [*handles.values()], [*handles]
        figure.legend(*shown, loc="outside lower center", ncols=columns, fontsize="small")


def marker(points: Sized) -> str:
    """A dot for a curve of a single point, of which a line shows nothing."""
    return "o" if len(points) == 1 else ""


def fitted(text: str, inches: float) -> str:
    """A title in lines that end at spaces and are no wider than its figure or panel."""
    width = int(inches / LETTER)
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def shared_ends(levels: Collection[str]) -> tuple[str, str]:
    """What all of some ids begin and end with, whole words; nothing of one alone.

    Example:
        >>> shared_ends(["MiniGrid-MemoryS7-v0", "MiniGrid-MemoryS11-v0"])
        ('MiniGrid-Memory', '-v0')
    """
    words = [WORDS.split(level) for level in dict.fromkeys(levels)]
    if len(words) < 2:
        return "", ""
    last = _in_common([own[:0:-1] for own in words])[::-1]
    first = _in_common([own[: -1 - len(last)] for own in words])
    return "".join(first), "".join(last)


def _in_common(rows: Sequence[Sequence[str]]) -> list[str]:
    """What all of them begin with."""
    places = takewhile(lambda words: len({*words}) == 1, zip(*rows, strict=False))
    return [words[0] for words in places]


def without(ends: tuple[str, str], level: str) -> str:
    """An id that has both of these ends without them, or else as it is."""
    first, last = ends
    if not (level.startswith(first) and level.endswith(last)):
        return level
    return level.removeprefix(first).removesuffix(last)
