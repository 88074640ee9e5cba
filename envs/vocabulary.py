"""Missions as integer tokens: one vocabulary for all levels, with 0 for padding."""

from __future__ import annotations

import numpy as np
from minigrid.core.constants import IDX_TO_COLOR, OBJECT_TO_IDX

MAX_TOKENS = 255  # a token is one byte of the record

WORDS: list[str] = ["<pad>"]
# Trained agents know words by token: these keep theirs whatever levels there are; others follow.
KNOWN_WORDS = """
    red green blue purple yellow grey door key ball box a the object and , then after you go to open
    pick up put on your left right in front of behind next get goal square reach find opening avoid
    lava from room unlock use traverse rooms matching at end hallway fetch must near
"""
_TOKENS: dict[str, int] = {}


def token(word: str) -> int:
    """A word's token; a new word joins the vocabulary.

    Raises:
        ValueError: the vocabulary is full.
    """
    if word not in _TOKENS:
        if len(WORDS) > MAX_TOKENS:
            raise ValueError(f"the vocabulary is full at {MAX_TOKENS} words: no room for '{word}'")
        _TOKENS[word] = len(WORDS)
        WORDS.append(word)
    return _TOKENS[word]


def encode(mission: str) -> list[int]:
    """A mission's tokens: its words, with commas as words of their own."""
    return [token(word) for word in mission.replace(",", " ,").split()]


def encode_known(mission: str, length: int) -> list[int]:
    """A mission's tokens, padded with 0 to a length.

    Raises:
        ValueError: a word is not in the vocabulary, or there are more than ``length``.
    """
    words = mission.replace(",", " ,").split()
    for word in words:
        if word not in _TOKENS:
            raise ValueError(f"the mission '{mission}' has the word '{word}', which no level uses")
    if len(words) > length:
        raise ValueError(f"the mission '{mission}' has more than these levels' {length} words")
    return encode(mission) + [0] * (length - len(words))


def decode(tokens: np.ndarray) -> str:
    """The mission that ``encode`` turned into these tokens (any integer type; drops padding)."""
    return " ".join(WORDS[t] for t in tokens if t).replace(" ,", ",")


for _word in KNOWN_WORDS.split():
    token(_word)

# Tokens by upstream's color and type indices.
COLOR_WORDS = np.array([token(IDX_TO_COLOR[i]) for i in range(len(IDX_TO_COLOR))], np.uint8)
TYPE_WORDS = np.zeros(max(OBJECT_TO_IDX.values()) + 1, np.uint8)
for _name in ("door", "key", "ball", "box"):
    TYPE_WORDS[OBJECT_TO_IDX[_name]] = token(_name)
