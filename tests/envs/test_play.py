"""Play by hand: what is drawn, which keys do what, and a game in a real terminal."""

import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import envs
from envs.actions import DONE, DROP, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE
from envs.cells import KEY, YELLOW
from envs.play import BYTES, KEYS, NEW, QUIT, Game, play, read_keys, screen
from envs.render import render_agent_view
from envs.text import carried, draw_text

EMPTY = "MiniGrid-Empty-5x5-v0"
TO_THE_GOAL = ["up", "up", "right", "up", "up"]


def test_keys_are_those_of_upstreams_manual_control():
    names = {"left": LEFT, "right": RIGHT, "up": FORWARD, "space": TOGGLE, "tab": PICKUP}
    names |= {"pageup": PICKUP, "pagedown": DROP, "left shift": DROP, "enter": DONE}
    assert {name: KEYS[name] for name in names} == names
    assert (KEYS["backspace"], KEYS["escape"]) == (NEW, QUIT)
    assert {*range(7), NEW, QUIT} == {KEYS[letter] for letter in "wadpltfnq"}
    assert set(BYTES.values()) <= KEYS.keys()


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"\x1b[A\x1bOC\x1b[5~w", ["up", "right", "pageup", "w"]),
        (b"\t \r\x7f", ["tab", "space", "enter", "backspace"]),
        (b"a\x1b", ["a", "escape"]),
        (b"a\x1b[Hb\x1b[3~c\x1b[1;2Ad\x1bOPe\x1b[5;2~f", ["a", "b", "c", "d", "e", "f"]),
    ],
)
def test_what_a_terminal_sends_is_read_as_keys(sent, keys):
    reader, writer = os.pipe()
    os.write(writer, sent)
    got = read_keys(reader)
    assert [next(got) for _ in keys] == keys
    os.write(writer, b"\x1b")
    os.write(writer, b"[D")
    assert next(got) == "left"
    os.close(writer)
    assert list(got) == []
    os.close(reader)


def test_what_a_key_sends_may_come_in_pieces(monkeypatch):
    monkeypatch.setattr("envs.play.PATIENCE", 20)
    reader, writer = os.pipe()
    os.write(writer, b"\x1b[")
    later = threading.Timer(0.1, os.write, (writer, b"3~w"))
    later.start()
    assert next(read_keys(reader)) == "w"
    later.join()
    os.close(writer)
    os.close(reader)


def test_the_whole_grid_in_characters():
    env = envs.make(EMPTY, num_envs=1)
    env.reset()
    rows = draw_text(env.record(0), 7, False).plain.splitlines()
    assert rows == ["██████████", "██▶  · ·██", "██ · · ·██", "██ · ·▓▓██", "██████████"]
    door = envs.make("MiniGrid-DoorKey-5x5-v0", num_envs=1)
    door.reset(seed=0)
    plain = draw_text(door.record(0), 7, False).plain
    assert all(sign in plain for sign in ("▐×", "⚷", "▓▓"))


@pytest.mark.parametrize("view", [7, 5])
def test_the_agents_view_in_characters_and_pixels(view):
    level = "MiniGrid-DoorKey-8x8-v0"
    env = envs.make(level, num_envs=8, view=view)
    pixels = envs.make(level, num_envs=8, view=view, observation="rgb", tile_size=8)
    env.reset(seed=3)
    seen = pixels.reset(seed=3)["image"].numpy()
    for i in range(8):
        assert np.array_equal(render_agent_view(env.record(i), view, 8), seen[i])
        rows = draw_text(env.record(i), view, True).plain.splitlines()
        assert len(rows) == view
        assert rows[-1][view // 2 * 2] == "▲"


def test_a_game_by_hand():
    game = Game(EMPTY, 0, 7, False)
    assert game.status == "step 0 of 100"
    assert all(game.press(key) for key in TO_THE_GOAL)
    assert game.status == "step 0 of 100 · terminated after 5 steps, reward 0.95; a new episode"
    assert (game.episodes, game.successes) == (1, 1)
    assert game.press("no such key")
    assert game.press("w")
    assert game.status == "step 1 of 100"
    assert game.press("backspace")
    assert game.status == "step 0 of 100 · a new episode"
    assert not game.press("escape")


def test_what_is_carried_is_told():
    env = envs.make(EMPTY, num_envs=1)
    env.reset()
    record = env.record(0)
    assert carried(record) == ""
    record["carrying"] = KEY + YELLOW
    assert carried(record) == "yellow key"


def test_a_high_grid_is_shown_around_the_agent():
    game = Game("MiniGrid-Empty-16x16-v0", 1, 7, False)
    for height in (12, 20, 60):
        rows = [str(row) for row in screen(game, height).renderables]
        assert len(rows) <= max(height, 16 + 6)
        assert any(sign in row for row in rows for sign in "▶▼◀▲")


def test_a_window_takes_the_same_keys(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame")
    keys = {"up": pygame.K_UP, "right": pygame.K_RIGHT}
    events = [pygame.event.Event(pygame.KEYDOWN, key=keys[key]) for key in TO_THE_GOAL]
    events.append(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))
    monkeypatch.setattr(pygame.event, "wait", lambda: events.pop(0))
    assert play(EMPTY, 0, 7, True, window=True) == "1 episodes ended, 1 of them with a reward"
    assert not events
    monkeypatch.setenv("SDL_VIDEODRIVER", "no-such-driver")
    with pytest.raises(ValueError, match="no window can be opened"):
        play(EMPTY, 0, 7, False, window=True)


def test_a_window_that_nobody_would_see_is_not_opened(monkeypatch):
    """Without a display SDL draws off screen, where no key ever comes."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "offscreen")
    pygame = pytest.importorskip("pygame")
    monkeypatch.setattr(pygame.event, "wait", lambda: pygame.event.Event(pygame.QUIT))
    with pytest.raises(ValueError, match="no window can be opened: there is no display"):
        play(EMPTY, 0, 7, False, window=True)


def test_a_game_through_a_terminal():
    """As for a person: a terminal, keys, and the terminal's state restored."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "run.py", "play", EMPTY, "--no-window", "--agent-view"]
    root = Path(__file__).parent.parent.parent
    shown: list[bytes] = []

    def drain():
        try:
            while got := os.read(ours, 4096):
                shown.append(got)
        except OSError:  # it is closed
            pass

    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        command, cwd=root, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        reader = threading.Thread(target=drain)
        reader.start()
        while b"quit" not in b"".join(shown):  # what is typed before the game begins is dropped
            assert process.poll() is None
            time.sleep(0.05)
        os.write(ours, b"\x1b[A\x1b[Ad\x1b[Aw\x1b")
        assert process.wait(60) == 0
    reader.join()
    os.close(ours)
    text = b"".join(shown).decode()
    assert "terminated after 5 steps, reward 0.95" in text
    assert "1 episodes ended, 1 of them with a reward" in text
    assert "▲" in text
    assert text.index("\x1b[?1049h") < text.index("\x1b[?1049l")  # the screen is restored
