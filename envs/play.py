"""Play by hand, in a terminal or a window, with the keys of upstream's ``manual_control``."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import textwrap
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from .actions import DONE, DROP, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE
from .making import make
from .render import render_agent_view
from .text import AGENT, LEGEND, carried, draw_text

QUIT, NEW = -1, -2
KEYS = {
    **{"left": LEFT, "right": RIGHT, "up": FORWARD, "space": TOGGLE, "enter": DONE},
    **{"tab": PICKUP, "pageup": PICKUP, "page up": PICKUP, "return": DONE},
    **{"left shift": DROP, "pagedown": DROP, "page down": DROP},
    **{"backspace": NEW, "escape": QUIT},
    **{"a": LEFT, "d": RIGHT, "w": FORWARD, "p": PICKUP, "l": DROP, "t": TOGGLE, "f": DONE},
    **{"n": NEW, "q": QUIT},
}
HELP = (
    "arrows or w a d: go and turn · tab, p: pick up · page down, l: lay down · space, t: toggle · "
    "enter, f: done · backspace, n: new episode · escape, q: quit"
)
BYTES = {
    **{b"\x1b[A": "up", b"\x1b[C": "right", b"\x1b[D": "left", b"\x1b[5~": "pageup"},
    **{b"\x1bOA": "up", b"\x1bOC": "right", b"\x1bOD": "left", b"\x1b[6~": "pagedown"},
    **{b"\t": "tab", b" ": "space", b"\r": "enter", b"\n": "enter"},
    **{b"\x7f": "backspace", b"\x08": "backspace", b"\x1b": "escape"},
}
ANY = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|O.)")  # what any key may send (ECMA-48: CSI, SS3)
BEGUN = re.compile(rb"\x1b(\[[0-?]*[ -/]*|O)?")  # of that, what has come so far
UNSEEN = "offscreen"  # SDL's driver of last resort, whose windows nobody sees
PATIENCE = 0.05  # seconds to wait for the rest of what a key sends
SIDE, TEXT_HEIGHT, LINE, WRAP = 640, 120, 22, 76  # pixels of a window, characters per line


class Game:
    """One environment, stepped by a person.

    Args:
        id: the level.
        seed: of its episodes.
        view: side of the agent's square view in cells.
        agent_view: show that view only.

    Raises:
        ValueError: as `envs.make`.
    """

    def __init__(self, id: str, seed: int, view: int, agent_view: bool) -> None:
        self._env = make(id, num_envs=1, seed=seed, view=view, autoreset=False)
        self._view, self._agent_view = view, agent_view
        self._env.reset()
        self.episodes, self.successes, self._said = 0, 0, ""

    def press(self, key: str) -> bool:
        """Handle a key; whether the game goes on."""
        action = KEYS.get(key)
        if action == NEW:
            self._said = "a new episode"
            self._env.reset()
        elif action is not None and action >= 0:
            self._step(action)
        return action != QUIT

    def _step(self, action: int) -> None:
        step = self._env.step(torch.tensor([action]))
        reward, steps = float(step.reward[0]), int(self._env.record(0)["steps"])
        self._said = ""
        if step.terminated[0] or step.truncated[0]:
            how = "terminated" if step.terminated[0] else "truncated"
            self._said = f"{how} after {steps} steps, reward {reward:.2f}; a new episode"
            self.episodes += 1
            self.successes += reward > 0
            self._env.reset()

    @property
    def mission(self) -> str:
        """The current mission."""
        return self._env.missions()[0]

    @property
    def status(self) -> str:
        """The step count, what is carried and what has just happened."""
        record = self._env.record(0)
        words = [f"step {record['steps']} of {record['max_steps']}"]
        words += [f"carrying the {held}"] if (held := carried(record)) else []
        return " · ".join([*words, *([self._said] if self._said else [])])

    def text(self) -> Text:
        """The game as text, for a terminal."""
        return draw_text(self._env.record(0), self._view, self._agent_view)

    def picture(self) -> np.ndarray:
        """The game as an image, for a window, uint8 [H, W, 3]."""
        if self._agent_view:
            return render_agent_view(self._env.record(0), self._view, 32)
        return self._env.render(0)


def play(id: str, seed: int, view: int, agent_view: bool, window: bool) -> str:
    """Let a person play until they quit; returns a one-line summary.

    Args:
        id, seed, view, agent_view: as `Game`.
        window: play in a window instead of the terminal.

    Raises:
        ValueError: no window can be opened, there is no terminal, or as `envs.make`.
    """
    if not window and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError("play needs a terminal or, on a display, --window")
    game = Game(id, seed, view, agent_view)
    (play_in_window if window else play_in_terminal)(game)
    return f"{game.episodes} episodes ended, {game.successes} of them with a reward"


def play_in_terminal(game: Game) -> None:
    """Draw and read keys in this terminal."""
    console, descriptor = Console(), sys.stdin.fileno()
    with unbuffered(descriptor), Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(screen(game, console.height), refresh=True)
        for key in read_keys(descriptor):
            if not game.press(key):
                return
            live.update(screen(game, console.height), refresh=True)


def screen(game: Game, height: int) -> Group:
    """The screen of a terminal of ``height`` lines; of a grid too high, the rows near the agent."""
    words = [Text(game.mission, "bold"), Text(game.status), Text(), Text(LEGEND), Text(HELP)]
    rows = game.text().split("\n")
    space = max(height - 2 * len(words), 3)
    agent = next(i for i, row in enumerate(rows) if any(sign in row.plain for sign in AGENT))
    top = min(max(agent - space // 2, 0), max(len(rows) - space, 0))
    return Group(*words[:3], *rows[top : top + space], *words[2:])


@contextmanager
def unbuffered(descriptor: int) -> Iterator[None]:
    """Inside the block the terminal sends each key at once and does not echo it."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def read_keys(descriptor: int) -> Iterator[str]:
    """The names of the keys that a terminal sends, until end of file."""
    waiting = b""
    while True:
        if not waiting or (BEGUN.fullmatch(waiting) and is_ready(descriptor)):
            read = os.read(descriptor, 1024)
            if not read:
                return
            waiting += read
            continue
        known = [keys for keys in BYTES if waiting.startswith(keys)]
        keys = max(known, key=len, default=waiting[:1])
        if keys == b"\x1b" and (other := ANY.match(waiting)):
            waiting = waiting[other.end() :]
            continue
        yield BYTES.get(keys, keys.decode(errors="replace"))
        waiting = waiting[len(keys) :]


def is_ready(descriptor: int) -> bool:
    """Whether there is more to read within `PATIENCE`."""
    return bool(select.select([descriptor], [], [], PATIENCE)[0])


def play_in_window(game: Game) -> None:
    """Draw and read keys in a window; `ValueError` if none can be opened."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame

    try:
        pygame.display.init()
        if pygame.display.get_driver() == UNSEEN:
            raise ValueError("no window can be opened: there is no display")
        surface = pygame.display.set_mode((SIDE, scaled(game.picture())[1] + TEXT_HEIGHT))
    except pygame.error as error:
        raise ValueError(f"no window can be opened: {error}") from None
    pygame.font.init()
    try:
        going = True
        while going:
            paint(game, surface)
            event = pygame.event.wait()
            if event.type == pygame.KEYDOWN:
                going = game.press(pygame.key.name(event.key))
            going = going and event.type != pygame.QUIT
    finally:
        pygame.quit()


def scaled(picture: np.ndarray) -> tuple[int, int]:
    """The width and height at which a picture, [H, W, 3], fits a window."""
    height, width, _ = picture.shape
    return SIDE * width // max(height, width), SIDE * height // max(height, width)


def paint(game: Game, surface: object) -> None:
    """Draw the game: its picture, below it mission, status and keys."""
    import pygame

    assert isinstance(surface, pygame.Surface)
    picture = game.picture()
    size = scaled(picture)
    pixels = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
    surface.fill("white")
    surface.blit(pygame.transform.scale(pixels, size), (0, 0))
    font = pygame.font.Font(None, LINE)
    lines = [
        part for text in (game.mission, game.status, HELP) for part in textwrap.wrap(text, WRAP)
    ]
    for number, line in enumerate(lines):
        surface.blit(font.render(line, True, "black"), (8, size[1] + 8 + number * (LINE - 3)))
    pygame.display.set_caption(game.mission)
    pygame.display.flip()
