"""The Gymnasium interface: Gymnasium knows every level as ``metarims/<level id>``.

``gymnasium.make_vec("metarims/BabyAI-GoToLocal-v0", num_envs=64)`` gives a ``GymVectorEnv``,
``gymnasium.make`` a ``GymEnv``. Observations are NumPy arrays. Missions are tokens or, with
``mission="text"``, sentences; then everything that they return, spaces included, equals upstream's.
"""

from __future__ import annotations

from typing import Any, Unpack

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from minigrid.minigrid_env import MiniGridEnv

from .arrays import RENDER_MODES, Arrays, as_arrays, check_render_mode, observation_space
from .batch import Environments
from .interface import EngineOptions, Observation
from .making import make
from .seeding import Seeds, fill_seeds
from .translation.environments import write_environment
from .upstream import make_likeness

LAYOUT = ("grid", "width", "height", "mission", "max_steps", "see_through_walls", "agent_view_size")
STATE = {*LAYOUT, "agent_pos", "agent_dir", "carrying", "step_count"}  # read-only


def rows_of(arrays: Arrays, chosen: np.ndarray) -> np.ndarray:
    """An object array [B]: a single observation where chosen, None elsewhere."""
    rows = np.full(len(chosen), None, dtype=object)
    for i in np.flatnonzero(chosen):
        rows[i] = {name: array[i] for name, array in arrays.items()}
    return rows


class GymVectorEnv(VectorEnv[Arrays, np.ndarray, np.ndarray]):
    """Environments as a Gymnasium ``VectorEnv`` of NumPy arrays, rewards in float64 as upstream's.

    Args:
        engine: the environments.
        render_mode: None or "rgb_array".
        autoreset_mode: NEXT_STEP or DISABLED for environments made with ``autoreset=False``
            (default: DISABLED), SAME_STEP for others.
        mission: "tokens", or "text" for a tuple of sentences.
        draws_seed: without a seed, the first reset draws one instead of taking the engine's.

    Attributes:
        engine: the environments.
        autoreset_mode: the mode in use, as in ``metadata``.

    Raises:
        ValueError: an unknown argument, or an autoreset mode that does not fit the environments.
    """

    def __init__(
        self,
        engine: Environments,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode | None = None,
        mission: str = "tokens",
        draws_seed: bool = True,
    ) -> None:
        self.autoreset_mode = check_autoreset(engine, autoreset_mode)
        self.metadata = {"render_modes": RENDER_MODES, "render_fps": 10}
        self.metadata["autoreset_mode"] = self.autoreset_mode
        self.render_mode = check_render_mode(render_mode, RENDER_MODES)
        self.engine, self.num_envs, self._mission = engine, engine.num_envs, mission
        self.single_observation_space = observation_space(engine, mission)
        self.single_action_space = spaces.Discrete(engine.num_actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._draws_seed = draws_seed
        self._over = np.zeros(self.num_envs, bool)  # where the next step begins an episode

    def reset(
        self,
        *,
        seed: Seeds | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin new episodes, everywhere or where ``options["reset_mask"]`` (bool [B]) is true.

        A seed s seeds environment i with s + i. Where there is none, the first reset takes the one
        given to ``make_vec``, or draws one.
        """
        if self._draws_seed:
            seed = fill_seeds(seed, int(self.np_random.integers(1 << 31)))
        chosen = (options or {}).get("reset_mask")
        mask = None if chosen is None else torch.from_numpy(check_reset_mask(chosen))
        obs = self.engine.reset(seed=seed, mask=mask)
        self._draws_seed = False
        self._over = np.zeros(self.num_envs, bool) if chosen is None else self._over & ~chosen
        return as_arrays(obs, self._mission), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all environments.

        Where episodes end, SAME_STEP puts their last observations into the info's ``final_obs``;
        NEXT_STEP returns them, and the next step begins a new episode there, ignoring the action
        and with reward 0.
        """
        anew = torch.from_numpy(self._over) if self._over.any() else None
        step = self.engine.step(torch.as_tensor(actions, device=self.engine.device), anew)
        terminated, truncated = step.terminated.cpu().numpy(), step.truncated.cpu().numpy()
        ended = terminated | truncated
        info: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            final = rows_of(as_arrays(step.final_obs, self._mission), ended)
            info = {"final_obs": final, "final_info": {}}
            info |= {"_final_obs": ended, "_final_info": ended.copy()}
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._over = ended
        reward = step.exact_reward.cpu().numpy()
        return as_arrays(step.obs, self._mission), reward, terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture of every environment if the render mode is "rgb_array", else None."""
        if self.render_mode is None:
            return None
        return tuple(self.engine.render(i) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the worker processes that draw layouts, if there are any."""
        self.engine.close()


class GymEnv(gymnasium.Env[dict[str, Any], np.int64]):
    """One environment of a level, for ``gymnasium.make``; a batch is much faster per step.

    It has upstream's attributes (``grid``, ``agent_pos``, ``carrying``, ``get_frame()`` ...), as
    minigrid's wrappers need them; they are those of ``upstream``, and read-only.

    Args:
        level: its id.
        render_mode: None, "rgb_array", or "human" for a window as upstream's.
        mission: "tokens" or "text".
        options: further arguments of ``envs.make``.
    """

    metadata = MiniGridEnv.metadata

    def __init__(
        self,
        level: str,
        render_mode: str | None = None,
        mission: str = "tokens",
        **options: Unpack[EngineOptions],
    ) -> None:
        self.render_mode = check_render_mode(render_mode, self.metadata["render_modes"])
        self.engine = make(level, num_envs=1, autoreset=False, **options)
        self._in = mission
        self.observation_space = observation_space(self.engine, mission)
        self.action_space = spaces.Discrete(self.engine.num_actions)
        self._draws_seed, self._begun = "seed" not in options, False
        self._likeness: MiniGridEnv | None = None
        self._alike = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin a new episode.

        Without a seed, the first reset takes the one given to ``gymnasium.make``, or draws one.
        """
        super().reset(seed=seed)
        if seed is None and self._draws_seed:
            seed = int(self.np_random.integers(1 << 31))
        self._draws_seed, self._begun = False, True
        return self._observe(self.engine.reset(seed=seed)), {}

    def step(self, action: np.int64 | int) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Step: observation, reward, terminated, truncated and an empty info."""
        step = self.engine.step(torch.tensor([int(action)], device=self.engine.device))
        obs = self._observe(step.obs)
        return obs, float(step.exact_reward), bool(step.terminated), bool(step.truncated), {}

    def _observe(self, obs: Observation) -> Arrays:
        self._alike = False
        if self.render_mode == "human":
            self.render()
        return {name: array[0] for name, array in as_arrays(obs, self._in).items()}

    def render(self) -> np.ndarray | None:
        """The picture if the render mode is "rgb_array"; "human" updates the window."""
        if self.render_mode == "human":
            self.upstream.render()
        return self.engine.render(0) if self.render_mode == "rgb_array" else None

    @property
    def upstream(self) -> MiniGridEnv:
        """Upstream's environment in this one's state; changing it does not affect this one."""
        if self._likeness is None:
            self._likeness = make_likeness(self.engine.levels[0], self.engine.options)
            self._likeness.render_mode = self.render_mode
        if not self._alike:
            write_environment(self._likeness, self.engine.record(0))
            self._alike = True
        return self._likeness

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "_alike" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
        return getattr(self.upstream, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in STATE:
            raise AttributeError(f"'{name}' belongs to the engine: it can be read, not set")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_likeness": None, "_alike": not self._begun}

    def close(self) -> None:
        """Close the window, and stop the worker processes that draw layouts, if there are any."""
        if self._likeness is not None:
            self._likeness.close()
        self.engine.close()


def make_vector_env(
    level: str,
    num_envs: int,
    autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
    render_mode: str | None = None,
    mission: str = "tokens",
    **options: Unpack[EngineOptions],
) -> GymVectorEnv:
    """The entry point of ``gymnasium.make_vec``; further options are those of ``envs.make``.

    Raises:
        ValueError: an unknown autoreset mode, render mode or kind of missions.
    """
    mode = AutoresetMode(autoreset_mode)
    engine = make(level, num_envs, autoreset=mode == AutoresetMode.SAME_STEP, **options)
    return GymVectorEnv(engine, render_mode, mode, mission, "seed" not in options)


def check_autoreset(engine: Environments, asked: str | AutoresetMode | None) -> AutoresetMode:
    """The autoreset mode (default: the environments' own); refuse one that they cannot have."""
    same_step = engine.options.autoreset
    own = AutoresetMode.SAME_STEP if same_step else AutoresetMode.DISABLED
    mode = own if asked is None else AutoresetMode(asked)
    if same_step != (mode == AutoresetMode.SAME_STEP):
        raise ValueError(f"{mode.name} needs environments made with autoreset={not same_step}")
    return mode


def check_reset_mask(mask: object) -> np.ndarray:
    """Refuse masks that Gymnasium's vector environments refuse; the engine checks the shape."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask'] must be a bool array, got {mask!r}")
    if not mask.any():
        raise ValueError("options['reset_mask'] must choose at least one environment")
    return mask
