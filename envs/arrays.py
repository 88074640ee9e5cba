"""Observations for Gymnasium: NumPy arrays and their spaces, missions as text on request."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.constants import OBJECT_TO_IDX

from .batch import Environments
from .interface import Observation
from .upstream import mission_space
from .vocabulary import decode

RENDER_MODES = ["rgb_array"]
MISSIONS = ("tokens", "text")
Arrays = dict[str, Any]  # NumPy arrays; missions as text are a tuple


def observation_space(env: Environments, mission: str = "tokens") -> spaces.Dict:
    """One environment's space: image uint8, direction 0 to 3, mission int16 tokens or text.

    Raises:
        ValueError: ``mission`` is neither "tokens" nor "text".
    """
    if mission not in MISSIONS:
        raise ValueError(f"mission must be one of {MISSIONS}, got '{mission}'")
    in_words = mission == "text"
    symbols = in_words or env.options.observation == "rgb"
    brightest = 255 if symbols else max(OBJECT_TO_IDX.values())
    words = spaces.Box(0, len(env.vocabulary) - 1, (env.mission_length,), np.int16)
    return spaces.Dict(
        {
            "image": spaces.Box(0, brightest, env.image_shape, np.uint8),
            "direction": spaces.Discrete(4),
            "mission": mission_space(env) if in_words else words,
        }
    )


def as_arrays(obs: Observation, mission: str = "tokens") -> Arrays:
    """Observations as arrays in the batched space, which the caller may modify."""
    arrays: Arrays = {name: tensor.cpu().numpy() for name, tensor in obs.items()}
    arrays["direction"] = arrays["direction"].astype(np.int64)
    tokens = arrays["mission"].copy()  # steps share it while it does not change
    in_words = mission == "text"
    arrays["mission"] = tuple(in_text(row.tobytes()) for row in tokens) if in_words else tokens
    return arrays


@functools.lru_cache(1 << 14)
def in_text(tokens: bytes) -> str:
    """The text of a mission, given the bytes of its int16 tokens."""
    return decode(np.frombuffer(tokens, np.int16))


def check_render_mode(render_mode: str | None, known: Sequence[str]) -> str | None:
    """The render mode; refuse an unknown one."""
    if render_mode not in (None, *known):
        raise ValueError(f"render_mode must be None or one of {known}, got '{render_mode}'")
    return render_mode
