"""Observations as Gymnasium has them: NumPy arrays and their spaces, missions in words if asked."""

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
Arrays = dict[str, Any]  # NumPy arrays; of missions in words a tuple


def observation_space(env: Environments, mission: str = "tokens") -> spaces.Dict:
    """What one environment shows: image uint8, direction 0 to 3, mission int16 tokens or a text.

    Raises:
        ValueError: missions are neither tokens nor text.
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
    """Observations as the batched space holds them, the caller's own to change."""
    arrays: Arrays = {name: tensor.cpu().numpy() for name, tensor in obs.items()}
    arrays["direction"] = arrays["direction"].astype(np.int64)
    tokens = arrays["mission"].copy()  # steps share it for as long as it stays the same
    in_words = mission == "text"
    arrays["mission"] = tuple(in_text(row.tobytes()) for row in tokens) if in_words else tokens
    return arrays


@functools.lru_cache(1 << 14)
def in_text(tokens: bytes) -> str:
    """The mission of int16 tokens."""
    return decode(np.frombuffer(tokens, np.int16))


def check_render_mode(render_mode: str | None, known: Sequence[str]) -> str | None:
    """Refuse a render mode that there is not."""
    if render_mode not in (None, *known):
        raise ValueError(f"render_mode must be None or one of {known}, got '{render_mode}'")
    return render_mode
