"""A batch of environments: one tensor of records, each with its own random stream."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import cpu
from .cells import EMPTY
from .record import MISSION_OFFSET, NOTHING, RECORD, record_bytes, view_records
from .registry import Level, find_level
from .rng import seed_records
from .rules import ACTIONS, DONE
from .vocabulary import WORDS, decode, encode

Observation = dict[str, Tensor]
OBSERVATIONS = ("symbolic",)


@dataclass(frozen=True)
class Step:
    """What a batched step gives.

    Attributes:
        obs: the observations to act on next: ``image`` uint8 [B, V, V, 3], indexed [x, y, channel];
            ``direction`` uint8 [B]; ``mission`` int16 [B, L]. A finished environment's is its new
            episode's first.
        reward: float32 [B].
        terminated, truncated: bool [B]; both may hold.
        task: int64 [B], each environment's level as an index into ``Environments.level_ids``.
    """

    obs: Observation
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    task: Tensor
    _ended: Tensor
    _last: Observation

    @cached_property
    def final_obs(self) -> Observation:
        """The observations that the actions led to, shaped like ``obs``.

        Where an episode ended that is its last one, which truncation bootstraps from; elsewhere it
        equals ``obs``. Built when first asked for.
        """
        full = {name: tensor.clone() for name, tensor in self.obs.items()}
        for name, rows in self._last.items():
            full[name][self._ended] = rows
        return full


class Environments:
    """MiniGrid and BabyAI levels, batched; made by ``envs.make``.

    Environment i of a batch reset with seed s follows upstream's ``gymnasium.make(id)`` reset with
    seed s + i, through every later episode.

    Attributes:
        num_envs: B.
        level_ids: the levels, equal contiguous shares of the batch each.
        task: int64 [B], each environment's level as an index into ``level_ids``.
        num_actions: 7, upstream's actions.
        mission_length: L, tokens of the longest mission.
        vocabulary_size: how many words there are, padding included.
    """

    num_actions = ACTIONS

    def __init__(
        self, levels: Sequence[Level], num_envs: int, device: torch.device, seed: int, view: int
    ) -> None:
        self.num_envs, self.device, self.view = num_envs, device, view
        self.level_ids = [level.id for level in levels]
        self.mission_length = max(level.words for level in levels)
        self._levels = list(levels)
        self._seed: int | None = seed
        self._draws_missions = any(level.draws_mission for level in levels)
        shares = [
            num_envs // len(levels) + (k < num_envs % len(levels)) for k in range(len(levels))
        ]
        self._bounds = [0, *itertools.accumulate(shares)]
        tasks = torch.arange(len(levels))
        self.task = tasks.repeat_interleave(torch.tensor(shares)).to(device)
        self._bytes = record_bytes(max(level.width * level.height for level in levels))
        memory = torch.zeros(num_envs * self._bytes + RECORD.itemsize, dtype=torch.uint8)
        records = view_records(memory.numpy(), num_envs, self._bytes)
        for level, start, end in zip(levels, self._bounds, self._bounds[1:], strict=False):
            _set_up(records[start:end], level)
        self._memory = memory.to(device)
        self._launcher = _launcher(device)
        self._records = self._launcher.as_records(self._memory, num_envs, self._bytes)
        self._mission = torch.zeros(num_envs, self.mission_length, dtype=torch.int16, device=device)
        self._advance = self._launcher.make_advance(view)
        self._renew = [self._launcher.make_renew(level.generate) for level in levels]
        self._look = self._launcher.make_look(view)

    @property
    def vocabulary_size(self) -> int:
        """How many words the vocabulary holds, padding included."""
        return len(WORDS)

    def reset(self, seed: int | None = None) -> Observation:
        """Begin a new episode everywhere; a seed s restarts environment i's stream from s + i."""
        seed, self._seed = self._seed if seed is None else seed, None
        if seed is not None:
            self._seed_streams(range(seed, seed + self.num_envs))
        image, direction = self._empty_view(self.num_envs)
        everyone = torch.arange(self.num_envs, device=self.device)
        self._begin_episodes(everyone, image, direction)
        return self._observation(image, direction)

    def _seed_streams(self, seeds: Sequence[int]) -> None:
        memory = self._memory.cpu()
        seed_records(view_records(memory.numpy(), self.num_envs, self._bytes), seeds)
        self._memory.copy_(memory)

    def step(self, actions: Tensor) -> Step:
        """Act once everywhere; environments whose episode ends begin their next one.

        Args:
            actions: integers [B] on the environments' device, 0 to 6. On a GPU their range is not
                checked: it would wait for the device. Others do nothing.

        Raises:
            ValueError: wrong shape or an action out of range.
        """
        if actions.shape != (self.num_envs,):
            raise ValueError(
                f"expected actions of shape ({self.num_envs},), got {tuple(actions.shape)}"
            )
        chosen = actions.to(torch.int64).contiguous()
        if not chosen.is_cuda:
            _check_range(chosen.numpy())
        image, direction = self._empty_view(self.num_envs)
        reward = torch.empty(self.num_envs, dtype=torch.float32, device=self.device)
        ends = torch.empty(2, self.num_envs, dtype=torch.bool, device=self.device)
        self._launch(self._advance, self.num_envs, chosen, image, direction, reward, ends)
        ended = _indices(ends)
        last = self._begin_episodes(ended, image, direction) if len(ended) else {}
        obs = self._observation(image, direction)
        return Step(obs, reward, ends[0], ends[1], self.task, ended, last)

    def _begin_episodes(self, ended: Tensor, image: Tensor, direction: Tensor) -> Observation:
        """Draw new layouts where episodes ended; gives the ended ones' last observations."""
        last = self._observation(*(_rows(t, ended) for t in (image, direction, self._mission)))
        if self._draws_missions:
            self._mission = _copy(self._mission)  # earlier steps keep theirs
        for task, (first, end) in enumerate(self._shares(ended)):
            if first < end:
                params = self._levels[task].params
                self._launch(self._renew[task], end - first, params, ended[first:end])
        self._launch(self._look, len(ended), ended, image, direction, self._mission)
        return last

    def _shares(self, ended: Tensor) -> list[tuple[int, int]]:
        """The part of the sorted indices that belongs to each level."""
        if len(self._levels) == 1:
            return [(0, len(ended))]
        bounds = torch.tensor(self._bounds, device=self.device)
        cuts = torch.searchsorted(ended, bounds).tolist()
        return list(itertools.pairwise(cuts))

    def _launch(self, kernel: Any, count: int, *arguments: Any) -> None:
        """Run a kernel over the records with tensors, numbers and tuples of numbers."""
        arrays = [self._launcher.as_array(a) if isinstance(a, Tensor) else a for a in arguments]
        self._launcher.launch(kernel, count, self._records, *arrays)

    def _empty_view(self, count: int) -> tuple[Tensor, Tensor]:
        pixels = self.view * self.view * 3
        image = torch.empty(count, pixels, dtype=torch.uint8, device=self.device)
        return image, torch.empty(count, dtype=torch.uint8, device=self.device)

    def _observation(
        self, image: Tensor, direction: Tensor, mission: Tensor | None = None
    ) -> Observation:
        return {
            "image": image.view(-1, self.view, self.view, 3),
            "direction": direction,
            "mission": self._mission if mission is None else mission,
        }

    def missions(self) -> list[str]:
        """Every environment's mission in upstream's words."""
        return [decode(row) for row in self._mission.cpu().numpy()]

    @property
    def state(self) -> Tensor:
        """All that the environments are: uint8 [B, record bytes], a copy.

        Setting it restores every bit; the next step goes on from there.
        """
        size = self.num_envs * self._bytes
        return self._memory[:size].view(self.num_envs, self._bytes).clone()

    @state.setter
    def state(self, saved: Tensor) -> None:
        expected = (self.num_envs, self._bytes)
        if tuple(saved.shape) != expected or saved.dtype != torch.uint8:
            raise ValueError(
                f"expected a uint8 state of shape {expected}, "
                f"got {saved.dtype} {tuple(saved.shape)}"
            )
        self._memory[: saved.numel()] = saved.flatten()
        self._seed = None
        words = saved[:, MISSION_OFFSET : MISSION_OFFSET + self.mission_length]
        self._mission = words.to(self.device, torch.int16)


def _launcher(device: torch.device) -> ModuleType:
    """The module that compiles and runs kernels on a device."""
    if device.type == "cuda":
        from . import gpu  # needs the extra `cuda`

        return gpu
    return cpu


def _indices(ends: Tensor) -> Tensor:
    """Where either row holds. On the CPU by NumPy: PyTorch would wake all its threads for it."""
    if ends.is_cuda:
        return ends.any(0).nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(ends.numpy().any(0)))


def _rows(tensor: Tensor, indices: Tensor) -> Tensor:
    """A copy of some rows, on the CPU by NumPy, as in ``_indices``."""
    if tensor.is_cuda:
        return tensor[indices]
    return torch.from_numpy(tensor.numpy()[indices.numpy()])


def _copy(tensor: Tensor) -> Tensor:
    """A copy, on the CPU by NumPy, as in ``_indices``."""
    return tensor.clone() if tensor.is_cuda else torch.from_numpy(tensor.numpy().copy())


def _check_range(actions: np.ndarray) -> None:
    if actions.min() < 0 or actions.max() > DONE:
        raise ValueError(f"actions must lie in 0..{DONE}, got {actions.min()}..{actions.max()}")


def _set_up(records: np.ndarray, level: Level) -> None:
    """Write what a level fixes once into its records."""
    records["full_width"], records["full_height"] = level.width, level.height
    records["step_limit"], records["rule"] = level.max_steps, level.rule
    records["see_through"] = level.see_through
    records["room_size"], records["room_rows"], records["room_columns"] = level.rooms
    records["carrying"], records["held"] = EMPTY, NOTHING
    words = encode(level.mission)
    records["mission"][:, : len(words)] = words
    records["mission_length"] = len(words)


def make(
    levels: str | Sequence[str],
    num_envs: int,
    device: str | torch.device = "cpu",
    seed: int = 0,
    observation: str = "symbolic",
    view: int = 7,
) -> Environments:
    """A batch of environments of one level, or equal shares of several.

    Args:
        levels: one id or a sequence of them, from ``envs.levels()``.
        num_envs: environments in all, at least one a level.
        device: "cpu" or "cuda".
        seed: environment i is seeded with ``seed + i`` at the first ``reset()``.
        observation: "symbolic", upstream's (type, color, state) for each cell.
        view: cells of the agent's square view, odd, 3 to 31.

    Raises:
        ValueError: an unknown level (the message names the nearest), or a number out of range.
    """
    ids = [levels] if isinstance(levels, str) else list(levels)
    rows = [find_level(id) for id in ids]
    if not rows or num_envs < len(rows):
        raise ValueError(
            f"num_envs must be at least one a level, {max(len(rows), 1)}, got {num_envs}"
        )
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if observation not in OBSERVATIONS:
        raise ValueError(f"observation must be one of {OBSERVATIONS}, got '{observation}'")
    if view % 2 == 0 or not 3 <= view <= 31:
        raise ValueError(f"view must be odd, 3 to 31, got {view}")
    return Environments(rows, num_envs, _find_device(device), seed, view)


def _find_device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device '{device}': give 'cpu' or 'cuda'") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"environments run on 'cpu' or 'cuda', not on '{device}'")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device '{device}' is not there: PyTorch sees no GPU; use 'cpu'")
    return found
