"""Levels are found automatically, and words keep their tokens whatever levels there are."""

import shutil
import subprocess
import sys
from pathlib import Path

import envs
from envs.vocabulary import KNOWN_WORDS, WORDS

LEVEL = """
from ..registry import level
from ..world import set_agent, walled


@level("My-Alley-v0", size=5, max_steps=9, mission="wander about the lava")
def alley(e):
    walled(e)
    set_agent(e, 1, 1, 0)
"""
CHECK = """
import envs
from envs.vocabulary import WORDS
assert "My-Alley-v0" in envs.levels()
assert WORDS == {words!r} + ["wander", "about"], WORDS
"""


def test_upstreams_missions_need_no_further_words():
    assert WORDS[: len(KNOWN_WORDS.split()) + 1] == ["<pad>", *KNOWN_WORDS.split()]
    env = envs.make(["BabyAI-BossLevel-v0", "MiniGrid-PutNear-6x6-N2-v0"], 32)
    obs = env.reset(seed=0)
    assert int(obs["mission"].max()) <= len(KNOWN_WORDS.split())


def test_trained_agents_words_keep_their_numbers():
    assert len(KNOWN_WORDS.split()) == 54
    numbers = {"red": 1, "door": 7, "a": 11, "go": 19, "goal": 35, "near": 54}
    assert {word: WORDS.index(word) for word in numbers} == numbers


def test_a_file_among_the_levels_is_found_and_shifts_no_word(tmp_path):
    shutil.copytree(Path(envs.__file__).parent, tmp_path / "envs")
    (tmp_path / "envs" / "levels" / "alley.py").write_text(LEVEL)
    words = ["<pad>", *KNOWN_WORDS.split()]
    subprocess.run(
        [sys.executable, "-c", CHECK.format(words=words)], cwd=tmp_path, check=True, timeout=900
    )
