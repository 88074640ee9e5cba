"""A checker of any Gymnasium vector environment against the ``VectorEnv`` contract."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar

import numpy as np
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

Obs = TypeVar("Obs")
AnyVectorEnv = VectorEnv[Any, Any, Any]
Transition = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class VectorEnvError(ValueError):
    """A vector environment violates the contract."""


def require(kept: bool, promise: str) -> None:
    """Raise an error that names the promise unless it is kept."""
    if not kept:
        raise VectorEnvError(f"does not hold: {promise}")


def check_vector_env(env: AnyVectorEnv, seed: int = 0, steps: int = 500) -> None:
    """Check spaces, seeding, resets, steps, autoreset and infos, with random actions.

    Args:
        env: any vector environment; it is reset several times.
        seed: of the resets and the actions.
        steps: how many to take; at least one episode must end within them.

    Raises:
        VectorEnvError: names the first violation.
    """
    check_spaces(env)
    check_seeds(env, seed)
    first, second = walk(env, seed, steps), walk(env, seed, steps)
    for transition, again in zip(first, second, strict=True):
        same = data_equivalence(transition, again)
        require(same, "equal seeds and actions give equal transitions")
    ends = sum(int((terminated | truncated).sum()) for _, _, terminated, truncated, _ in first)
    require(ends > 0, f"an episode ends within {steps} steps (if not, pass more steps)")


def check_spaces(env: AnyVectorEnv) -> None:
    """Batched spaces are batches of the single ones, and metadata state the autoreset mode."""
    require(env.num_envs > 0, "num_envs is positive")
    mode = env.metadata.get("autoreset_mode")
    require(isinstance(mode, AutoresetMode), "metadata['autoreset_mode'] is an AutoresetMode")
    for name in ("observation_space", "action_space"):
        batched = batch_space(getattr(env, f"single_{name}"), env.num_envs)
        require(getattr(env, name) == batched, f"{name} is a batch of single_{name}")


def check_seeds(env: AnyVectorEnv, seed: int) -> None:
    """A seed s seeds environment i with s + i; a list gives one each, a longer one fails."""
    seeds: Any = list(range(seed, seed + env.num_envs))
    first, infos = env.reset(seed=seed)
    require(first in env.observation_space, "reset observes the observation space")
    check_infos(infos, env.num_envs)
    again, _ = env.reset(seed=seed)
    require(data_equivalence(first, again), "equal seeds give equal first observations")
    each, _ = env.reset(seed=seeds)
    require(data_equivalence(first, each), "seed s equals the list [s, s + 1, ...]")
    try:
        env.reset(seed=seeds + seeds)
    except ValueError:
        return
    require(False, "a list of too many seeds raises ValueError")


def walk(env: AnyVectorEnv, seed: int, steps: int) -> list[Transition]:
    """Reset, take random steps and check each; returns the transitions."""
    last, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    ended = np.zeros(env.num_envs, bool)
    transitions: list[Transition] = []
    for _ in range(steps):
        if env.metadata["autoreset_mode"] == AutoresetMode.DISABLED and ended.any():
            last = check_masked_reset(env, last, ended)
        kept = deepcopy(last)
        transition = env.step(env.action_space.sample())
        require(data_equivalence(last, kept), "a step leaves earlier observations as they were")
        check_transition(env, transition, ended)
        last, _, terminated, truncated, _ = transition
        ended = terminated | truncated
        transitions.append(deepcopy(transition))
    return transitions


def check_transition(env: AnyVectorEnv, transition: Transition, ended_before: np.ndarray) -> None:
    """Shapes and types of one step, and what the autoreset mode requires at the end of episodes."""
    obs, reward, terminated, truncated, infos = transition
    require(obs in env.observation_space, "a step observes the observation space")
    require(reward.shape == (env.num_envs,), "rewards have shape (num_envs,)")
    require(np.issubdtype(reward.dtype, np.floating), "rewards are floats")
    for name, flags in (("terminated", terminated), ("truncated", truncated)):
        expected = flags.shape == (env.num_envs,) and flags.dtype == np.bool_
        require(expected, f"{name} is bool of shape (num_envs,)")
    check_infos(infos, env.num_envs)
    ended = terminated | truncated
    if env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP:
        check_final(env, infos, ended)
    else:
        require("final_obs" not in infos, "only SAME_STEP gives final_obs")
    if env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP:
        still = not reward[ended_before].any() and not ended[ended_before].any()
        require(still, "the step that resets neither rewards nor ends")


def check_infos(infos: dict[str, Any], num_envs: int) -> None:
    """Every entry has a mask ``_entry``, bool [num_envs]; nested dictionaries likewise."""
    require(isinstance(infos, dict), "infos are a dictionary")
    for name, value in infos.items():
        if name.startswith("_"):
            continue
        mask = infos.get(f"_{name}", np.empty(0))
        masked = mask.dtype == np.bool_ and mask.shape == (num_envs,)
        require(masked, f"infos['_{name}'] is bool [num_envs]")
        if isinstance(value, dict):
            check_infos(value, num_envs)
        else:
            require(len(value) == num_envs, f"infos['{name}'] has one row per environment")


def check_final(env: AnyVectorEnv, infos: dict[str, Any], ended: np.ndarray) -> None:
    """There are final observations and infos where episodes ended, and only there."""
    for name in ("final_obs", "final_info"):
        mask = infos.get(f"_{name}", np.zeros(env.num_envs, bool))
        require(np.array_equal(mask, ended), f"infos['_{name}'] holds where episodes ended")
    if not ended.any():
        return
    final = infos.get("final_obs", np.empty(0))
    require(final.dtype == object, "infos['final_obs'] is an array of objects")
    for row, over in zip(final, ended, strict=True):
        if over:
            require(row in env.single_observation_space, "a final observation is a single one")
        else:
            require(row is None, "infos['final_obs'] is None where no episode ended")


def check_masked_reset(env: AnyVectorEnv, last: Obs, ended: np.ndarray) -> Obs:
    """Resetting the finished environments does not change the others' observations."""
    obs: Obs
    obs, infos = env.reset(options={"reset_mask": ended.copy()})
    check_infos(infos, env.num_envs)
    require(obs in env.observation_space, "a masked reset observes the observation space")
    before, after = iterate(env.observation_space, last), iterate(env.observation_space, obs)
    for old, new, chosen in zip(before, after, ended, strict=True):
        spared = bool(chosen) or data_equivalence(old, new)
        require(spared, "a masked reset spares the rest")
    return obs
