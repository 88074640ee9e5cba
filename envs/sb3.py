"""The Stable-Baselines3 interface: a ``VecEnv`` over the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from .arrays import RENDER_MODES, Arrays, as_arrays, check_render_mode, observation_space
from .batch import Environments
from .interface import MakeOptions, Observation
from .making import make


class SB3VecEnv(VecEnv):
    """Environments as a Stable-Baselines3 ``VecEnv``; use ``MultiInputPolicy``.

    Args:
        levels: as in ``envs.make``, or environments that it made (with autoreset).
        num_envs: B; ignored if environments are given.
        render_mode: None or "rgb_array".
        mission: "tokens", or "text" for wrappers that process strings [B].
        options: further arguments of ``envs.make``.

    Attributes:
        engine: the environments.

    Raises:
        ValueError: environments without autoreset, an unknown render mode or kind of missions, or
            as ``envs.make``.

    Example:
        >>> PPO("MultiInputPolicy", SB3VecEnv("MiniGrid-DoorKey-5x5-v0", num_envs=16)).learn(10_000)
    """

    def __init__(
        self,
        levels: str | Sequence[str] | Environments,
        num_envs: int = 1,
        render_mode: str | None = None,
        mission: str = "tokens",
        **options: Unpack[MakeOptions],
    ) -> None:
        self.engine: Environments = (
            levels if isinstance(levels, Environments) else make(levels, num_envs, **options)
        )
        if not self.engine.options.autoreset:
            raise ValueError("Stable-Baselines3 needs environments with autoreset")
        self._render_mode = check_render_mode(render_mode, RENDER_MODES)
        self._mission = mission
        seen = observation_space(self.engine, mission)
        if mission == "text":  # SB3 takes a uint8 space up to 255 for a picture
            seen = spaces.Dict({**seen.spaces, "image": observation_space(self.engine)["image"]})
        actions = spaces.Discrete(self.engine.num_actions)
        super().__init__(self.engine.num_envs, seen, actions)

    def reset(self) -> Arrays:
        """Begin new episodes everywhere, consuming the seeds and options set before."""
        seeded = any(seed is not None for seed in self._seeds)
        obs = self.engine.reset(seed=self._seeds if seeded else None)
        self._reset_seeds()
        self._reset_options()
        return self._as_arrays(obs)

    def _as_arrays(self, obs: Observation) -> Arrays:
        arrays = as_arrays(obs, self._mission)
        return {**arrays, "mission": np.asarray(arrays["mission"])}

    def step_async(self, actions: np.ndarray) -> None:
        """Store the actions, integers [B], for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step: observations, rewards [B], dones [B] and one info per environment."""
        step = self.engine.step(torch.as_tensor(self._actions, device=self.engine.device))
        ended = (step.terminated | step.truncated).cpu().numpy()
        cut = (step.truncated & ~step.terminated).tolist()
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": c} for c in cut]
        if ended.any():
            final = self._as_arrays(step.final_obs)
            for i in np.flatnonzero(ended):
                infos[i]["terminal_observation"] = {name: a[i] for name, a in final.items()}
        return self._as_arrays(step.obs), step.reward.cpu().numpy(), ended, infos

    def close(self) -> None:
        """Stop the worker processes that draw layouts, if there are any."""
        self.engine.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the engine, "render_mode" or "spec" (None), once per environment."""
        own = {"render_mode": self._render_mode, "spec": None}
        value = own[attr_name] if attr_name in own else getattr(self.engine, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not supported: environments of a batch have no attributes of their own.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(
            f"environments of a batch share their attributes: cannot set '{attr_name}'"
        )

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call ``render``, the only method of a single environment of a batch.

        Raises:
            AttributeError: any other method.
        """
        if method_name != "render":
            raise AttributeError(f"an environment of a batch has no method '{method_name}'")
        return [self.engine.render(i) for i in self._get_indices(indices)]

    def env_is_wrapped(
        self,
        wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]],
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        """Always false: environments of a batch have no wrappers."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> list[np.ndarray | None]:
        """A picture of every environment if the render mode is "rgb_array", else None for each."""
        if self._render_mode is None:
            return [None] * self.num_envs
        return [self.engine.render(i) for i in range(self.num_envs)]
