"""An environment as text for a terminal, two columns per cell."""

from __future__ import annotations

import numpy as np
from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT
from rich.text import Text

from .cells import CLOSED, EMPTY, ENCODING, LOCKED
from .render import agent_view_cells, seen_cells
from .sprites import UP

SIGNS = {
    "unseen": "░░",
    "empty": " ·",
    "wall": "██",
    "floor": "▒▒",
    "key": "⚷ ",
    "ball": "● ",
    "box": "▣ ",
    "goal": "▓▓",
    "lava": "≈≈",
}
OPEN_SIGN, CLOSED_SIGN, LOCKED_SIGN = "▏ ", "▐▌", "▐×"
AGENT = ("▶ ", "▼ ", "◀ ", "▲ ")  # by direction: right, down, left, up
SHADES = {"purple": "magenta", "grey": "grey50"}  # rich's names for upstream's colors
SEEN = "on grey19"
LEGEND = "⚷ key  ● ball  ▣ box  ▓▓ goal  ≈≈ lava  ▏ open  ▐▌ closed  ▐× locked door"


def draw_text(record: np.void, view: int, agent_view: bool) -> Text:
    """An environment's grid, with what the agent sees highlighted, or the agent's view alone.

    Args:
        record: the environment.
        view: side of the agent's square view in cells.
        agent_view: draw that view only, the agent at the bottom centre facing up.
    """
    if agent_view:
        cells, here, direction = agent_view_cells(record, view), (view // 2, view - 1), UP
        seen = {(x, y) for x in range(view) for y in range(view)}
    else:
        width, height = int(record["width"]), int(record["height"])
        cells = record["grid"][: width * height].reshape(height, width)
        here, direction = (int(record["x"]), int(record["y"])), int(record["direction"])
        seen = seen_cells(record, view)
    text = Text()
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            sign, style = (AGENT[direction], "bold red") if (x, y) == here else sign_of(int(cell))
            text.append(sign, f"{style} {SEEN}" if (x, y) in seen else style)
        text.append("\n")
    return text


def sign_of(cell: int) -> tuple[str, str]:
    """A cell's characters and style."""
    kind, color, state = (int(v) for v in ENCODING[cell])
    name, shade = IDX_TO_OBJECT[kind], IDX_TO_COLOR[color]
    style = SHADES.get(shade, shade)
    if name == "door":
        return {CLOSED: CLOSED_SIGN, LOCKED: LOCKED_SIGN}.get(state, OPEN_SIGN), style
    dull = name in ("unseen", "empty")
    return SIGNS[name], "grey30" if dull else "bright_red" if name == "lava" else style


def carried(record: np.void) -> str:
    """What the agent carries, as text, "" if nothing."""
    kind, color, _ = (int(v) for v in ENCODING[int(record["carrying"])])
    if record["carrying"] == EMPTY:
        return ""
    return f"{IDX_TO_COLOR[color]} {IDX_TO_OBJECT[kind]}"
