"""Gymnasium's doors: importing ``envs`` registers every level as ``metarims/<upstream's id>``.

``gymnasium.make_vec("metarims/BabyAI-GoToLocal-v0", num_envs=64)`` gives a ``GymVectorEnv``,
``gymnasium.make`` a ``GymEnv``. Both observe NumPy arrays; missions are tokens (``envs.make`` has
the sentences).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from minigrid.core.constants import OBJECT_TO_IDX

from .batch import Environments, make
from .interface import EngineOptions, Observation
from .registry import LEVELS

NAMESPACE = "metarims"
RENDER_MODES = ["rgb_array"]
RENDERING: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 10}
Arrays = dict[str, np.ndarray]


def register_levels() -> None:
    """Make every level known to Gymnasium."""
    for id in LEVELS:
        gymnasium.register(
            f"{NAMESPACE}/{id}",
            entry_point=f"{__name__}:GymEnv",
            vector_entry_point=f"{__name__}:make_vector_env",
            kwargs={"level": id},
        )


def observation_space(env: Environments) -> spaces.Dict:
    """What one environment shows: image uint8, direction 0 to 3, mission int16 tokens."""
    brightest = 255 if env.options.observation == "rgb" else max(OBJECT_TO_IDX.values())
    words = env.vocabulary_size - 1
    return spaces.Dict(
        {
            "image": spaces.Box(0, brightest, env.image_shape, np.uint8),
            "direction": spaces.Discrete(4),
            "mission": spaces.Box(0, words, (env.mission_length,), np.int16),
        }
    )


def as_arrays(obs: Observation) -> Arrays:
    """Observations as the batched space holds them, the caller's own to change."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in obs.items()}
    mission = arrays["mission"].copy()  # steps share it for as long as it stays the same
    return {**arrays, "direction": arrays["direction"].astype(np.int64), "mission": mission}


def rows_of(arrays: Arrays, chosen: np.ndarray) -> np.ndarray:
    """An object array [B]: an observation of its own where chosen, None elsewhere."""
    rows = np.full(len(chosen), None, dtype=object)
    for i in np.flatnonzero(chosen):
        rows[i] = {name: array[i] for name, array in arrays.items()}
    return rows


class GymVectorEnv(VectorEnv[Arrays, np.ndarray, np.ndarray]):
    """Environments as a Gymnasium ``VectorEnv`` of NumPy arrays.

    Its autoreset mode is SAME_STEP, or DISABLED for environments made with ``autoreset=False``.

    Attributes:
        engine: the environments.
        autoreset_mode: which of the two it is, as in ``metadata``.
    """

    def __init__(self, engine: Environments, render_mode: str | None = None) -> None:
        same_step = engine.options.autoreset
        mode = AutoresetMode.SAME_STEP if same_step else AutoresetMode.DISABLED
        self.metadata = {**RENDERING, "autoreset_mode": mode}
        self.autoreset_mode = mode  # where some clients look for it
        self.render_mode = check_render_mode(render_mode)
        self.engine, self.num_envs = engine, engine.num_envs
        self.single_observation_space = observation_space(engine)
        self.single_action_space = spaces.Discrete(engine.num_actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seeded = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin new episodes, where ``options["reset_mask"]`` (bool [B]) holds or everywhere.

        A seed s restarts environment i's stream from s + i; the first reset without one draws it.
        """
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(1 << 31))
        self._seeded = True
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            mask = torch.from_numpy(check_reset_mask(mask))
        return as_arrays(self.engine.reset(seed=seed, mask=mask)), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act once everywhere.

        Where episodes end under SAME_STEP, the info's ``final_obs`` holds their last observations.
        """
        step = self.engine.step(torch.as_tensor(actions, device=self.engine.device))
        terminated, truncated = step.terminated.cpu().numpy(), step.truncated.cpu().numpy()
        ended = terminated | truncated
        info: dict[str, Any] = {}
        if self.engine.options.autoreset and ended.any():
            final = rows_of(as_arrays(step.final_obs), ended)
            info = {"final_obs": final, "final_info": {}}
            info |= {"_final_obs": ended, "_final_info": ended.copy()}
        return as_arrays(step.obs), step.reward.cpu().numpy(), terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Every environment's picture, if the render mode is "rgb_array"."""
        if self.render_mode is None:
            return None
        return tuple(self.engine.render(i) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """End the processes that draw layouts, where there are any."""
        self.engine.close()


class GymEnv(gymnasium.Env[dict[str, Any], np.int64]):
    """One environment of a level, for ``gymnasium.make``; many at once are what is fast."""

    metadata = RENDERING

    def __init__(
        self, level: str, render_mode: str | None = None, **options: Unpack[EngineOptions]
    ) -> None:
        self.render_mode = check_render_mode(render_mode)
        self.engine = make(level, num_envs=1, autoreset=False, **options)
        self.observation_space = observation_space(self.engine)
        self.action_space = spaces.Discrete(self.engine.num_actions)
        self._seeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin a new episode; the first one without a seed draws it."""
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(1 << 31))
        self._seeded = True
        return self._first(self.engine.reset(seed=seed)), {}

    def step(self, action: np.int64 | int) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Act once: observation, reward, terminated, truncated and an empty info."""
        step = self.engine.step(torch.tensor([int(action)], device=self.engine.device))
        obs = self._first(step.obs)
        return obs, float(step.reward), bool(step.terminated), bool(step.truncated), {}

    def _first(self, obs: Observation) -> Arrays:
        return {name: array[0] for name, array in as_arrays(obs).items()}

    def render(self) -> np.ndarray | None:
        """The environment's picture, if the render mode is "rgb_array"."""
        return None if self.render_mode is None else self.engine.render(0)


def make_vector_env(
    level: str,
    num_envs: int,
    autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
    render_mode: str | None = None,
    **options: Unpack[EngineOptions],
) -> GymVectorEnv:
    """What ``gymnasium.make_vec`` calls; the further options are ``envs.make``'s.

    Raises:
        ValueError: an autoreset or render mode that there is not.
    """
    mode = AutoresetMode(autoreset_mode)
    if mode == AutoresetMode.NEXT_STEP:
        raise ValueError("autoreset_mode must be SAME_STEP or DISABLED, got NEXT_STEP")
    engine = make(level, num_envs, autoreset=mode == AutoresetMode.SAME_STEP, **options)
    return GymVectorEnv(engine, render_mode)


def check_render_mode(render_mode: str | None) -> str | None:
    """Refuse a render mode that there is not."""
    if render_mode not in (None, *RENDER_MODES):
        raise ValueError(f"render_mode must be None or 'rgb_array', got '{render_mode}'")
    return render_mode


def check_reset_mask(mask: object) -> np.ndarray:
    """Refuse a mask that Gymnasium's own vector environments refuse, but for its shape."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask'] must be a bool array, got {mask!r}")
    if not mask.any():
        raise ValueError("options['reset_mask'] must choose at least one environment")
    return mask
