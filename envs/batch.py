"""A batch of environments: one tensor of records, each with its own random stream."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .devices import find_launcher
from .interface import UPSTREAM_VIEW, Observation, Options, Step
from .jit import Compiled
from .kernels import MAX_ATTEMPTS
from .layouts import Layouts
from .mistakes import MISTAKES, explain
from .record import CARRYING_OFFSET, MISSION_OFFSET, RECORD, X_OFFSET, record_bytes, view_records
from .registry import Level, find_level
from .render import render
from .rgb import Painter
from .rules import ACTIONS, explain_rules, own_rules
from .seeding import Seeds, fill_seeds, seed_records, spread_seeds
from .vision import make_full_view, make_partial_view
from .vocabulary import WORDS, decode


class Environments:
    """A batch of MiniGrid and BabyAI environments, made by ``envs.make``.

    Environment i of a batch reset with seed s equals upstream's ``gymnasium.make(id)`` reset with
    seed s + i, through all later episodes.

    Attributes:
        num_envs: B.
        options: observation, view, tile size, autoreset and step limit.
        image_shape: shape of one environment's image.
        levels: the levels, each with a contiguous share of the batch.
        level_ids: their ids.
        task: int64 [B], each environment's level as an index into ``level_ids``.
        num_actions: 7, upstream's actions.
        mission_length: L, tokens of the longest mission.
        vocabulary: the missions' words, indexed by token; token 0 is padding.
    """

    num_actions = len(ACTIONS)

    @torch.inference_mode(False)  # its memory is written to outside of that mode too
    def __init__(
        self,
        levels: Sequence[Level],
        shares: Sequence[int],
        device: torch.device,
        seed: int,
        options: Options,
    ) -> None:
        num_envs = sum(shares)
        levels = [level.limited(options.max_steps) for level in levels]
        self.num_envs, self.device, self.options = num_envs, device, options
        self.level_ids = [level.id for level in levels]
        self.mission_length = max(level.words for level in levels)
        self.levels = levels
        self._rules = own_rules(level.rule for level in levels)
        self._seed: int | None = seed
        self._begun = False
        self._draws_missions = any(level.draws_mission for level in levels)
        self._bounds = [0, *itertools.accumulate(shares)]
        tasks = torch.arange(len(levels))
        self.task = tasks.repeat_interleave(torch.tensor(shares)).to(device)
        self._bytes = record_bytes(max(level.width * level.height for level in levels))
        memory = torch.zeros(num_envs * self._bytes + RECORD.itemsize, dtype=torch.uint8)
        records = view_records(memory.numpy(), num_envs, self._bytes)
        for level, start, end in zip(levels, self._bounds, self._bounds[1:], strict=False):
            level.set_up(records[start:end], self._rules)
        self._memory = memory.to(device)
        self._rows = self._memory[: num_envs * self._bytes].view(num_envs, self._bytes)
        self._launcher = find_launcher(device)
        self._records = self._launcher.as_records(self._memory, num_envs, self._bytes)
        self._everyone = torch.arange(num_envs, device=device)
        self._mission = torch.zeros(num_envs, self.mission_length, dtype=torch.int16, device=device)
        self._shown = self._mission.clone()  # what observations hold: earlier ones keep theirs
        self._renew = [
            level.generate
            if isinstance(level.generate, Layouts)
            else self._launcher.make_renew(level.generate)
            for level in levels
        ]
        self._choose_kernels()

    def _choose_kernels(self) -> None:
        """Make the kernels that step and observe, as the options say."""
        view, observation = self.options.view, self.options.observation
        write_view, shape = make_partial_view(view), (view, view, 3)
        if observation == "full":
            width = max(level.width for level in self.levels)
            height = max(level.height for level in self.levels)
            write_view, shape = make_full_view(width, height), (width, height, 3)
        self._symbols = math.prod(shape)
        self._paint: Painter | None = None
        if observation == "rgb":
            self._paint = Painter(self._launcher, self.device, view, self.options.tile_size)
            shape = (self._paint.side, self._paint.side, 3)
        self.image_shape = shape
        wrapped = observation != "symbolic" or view != UPSTREAM_VIEW
        self._advance_kernel = self._launcher.make_advance(write_view, self._rules)
        self._observe_kernel = self._launcher.make_observe(write_view, wrapped)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The missions' words known so far, indexed by token."""
        return tuple(WORDS)

    @property
    def one_mission(self) -> bool:
        """Whether the mission is the same in all environments and episodes."""
        return not self._draws_missions and len({level.mission for level in self.levels}) == 1

    def reset(self, seed: Seeds | None = None, mask: Tensor | None = None) -> Observation:
        """Begin new episodes.

        Args:
            seed: s seeds environment i with s + i; a sequence gives each environment its own, None
                to continue that one's random stream (at the first reset: to seed it with the
                batch's own seed + i).
            mask: bool [B], the environments to reset (default: all, as at the first reset).

        Raises:
            ValueError: a seed out of range, too few or many seeds, a mask of another shape or type
                or at the first reset, a level whose function fails or yields no playable layout.
        """
        chosen = self._choose(mask)
        if self._seed is not None:
            seed = fill_seeds(seed, self._seed)
        if seed is not None:
            self._seed_streams(seed, chosen)
        self._seed = None
        image, direction = self._empty_view(self.num_envs)
        self._begin_episodes(chosen)
        if not self._begun:
            self._check_layouts()
        self._begun = True
        self._observe(self._everyone, image, direction)
        self._show_missions()
        return self._observation(image, direction)

    def _check_layouts(self) -> None:
        """Refuse a level that yields no playable layout, or missions that it has not declared."""
        names = ("given_up", "mission_length", "root")
        given_up, lengths, asked = (_column(self._rows, name) for name in names)
        for level, start, end in zip(self.levels, self._bounds, self._bounds[1:], strict=False):
            own = slice(start, end)
            if start < end and given_up[own].all():
                raise ValueError(
                    f"{level.id}: {MAX_ATTEMPTS} layouts were rejected in a row: does its function "
                    "place the agent, and everything within the grid, where there is an empty "
                    "cell, and begin a mission of its own with say_nothing?"
                )
            if max(lengths[own], default=0) > level.words:
                raise ValueError(
                    f"{level.id}: a mission has {max(lengths[own])} words, more than the "
                    f"{level.words} of the level"
                )
            if level.mission and asked[own].any():
                raise ValueError(f"{level.id}: it asks for something beside its one mission")

    def _choose(self, mask: Tensor | None) -> Tensor:
        """The indices of the environments to reset."""
        if mask is None:
            return self._everyone
        if mask.shape != (self.num_envs,) or mask.dtype != torch.bool:
            raise ValueError(
                f"expected a bool mask of shape ({self.num_envs},), "
                f"got {mask.dtype} {tuple(mask.shape)}"
            )
        if not self._begun:
            raise ValueError("the first reset takes no mask: it starts every environment")
        return mask.to(self.device).nonzero().squeeze(1)

    def _seed_streams(self, seed: Seeds, chosen: Tensor) -> None:
        """Seed the chosen environments that have a seed."""
        seeds = spread_seeds(seed, self.num_envs)
        rows = {i: s for i in chosen.tolist() if (s := seeds[i]) is not None}
        memory = self._memory.cpu()
        seed_records(view_records(memory.numpy(), self.num_envs, self._bytes), rows)
        self._memory.copy_(memory)

    def step(self, actions: Tensor, anew: Tensor | None = None) -> Step:
        """Step all environments; with autoreset, those whose episode ends begin the next one.

        Without autoreset they continue past the end, as upstream does.

        Args:
            actions: integers [B] on the environments' device, 0 to 6. On a GPU the range is not
                checked, as that would synchronise; other numbers do nothing (in
                Dynamic-Obstacles, all above 2 turn left).
            anew: bool [B], environments that begin a new episode instead of acting, with no reward.

        Raises:
            ValueError: a wrong shape or mask type, an action out of range, or no reset before.
        """
        if not self._begun:
            raise ValueError("call reset() before the first step()")
        if not isinstance(actions, Tensor):
            raise ValueError(f"actions must be a torch tensor, got {type(actions).__name__}")
        if actions.shape != (self.num_envs,):
            raise ValueError(
                f"expected actions of shape ({self.num_envs},), got {tuple(actions.shape)}"
            )
        if actions.is_floating_point():
            raise ValueError(f"actions must be integers, got {actions.dtype}")
        chosen = actions.to(torch.int64).contiguous()
        self._launcher.check_actions(chosen)
        image, direction = self._empty_view(self.num_envs)
        reward = torch.empty(self.num_envs, dtype=torch.float64, device=self.device)
        ends = torch.empty(2, self.num_envs, dtype=torch.bool, device=self.device)
        nobody = self._everyone[:0]
        idle = nobody if anew is None else self._choose(anew)
        before = self._rows[idle] if len(idle) else None
        self._advance(chosen, image, direction, reward, ends)
        if before is not None:
            self._rows[idle], reward[idle], ends[:, idle] = before, 0, False
            self._begin_episodes(idle)
            self._observe(idle, image, direction)
        kept = ended = nobody
        if self.options.autoreset:
            kept, ended = self._launcher.find_ended(ends, self._everyone)
        last: Observation = {}
        if len(ended):
            seen = (image, direction, self._mission)
            last = self._observation(*(self._launcher.copy_rows(t, kept) for t in seen))
            self._begin_episodes(ended)
            self._observe(ended, image, direction)
        if self._draws_missions and len(idle) + len(ended):
            self._show_missions()
        obs = self._observation(image, direction)
        terminated, truncated = ends.unbind()
        return Step(obs, reward, terminated, truncated, self.task, kept, last)

    def _begin_episodes(self, chosen: Tensor) -> None:
        """Draw new layouts in the environments at ascending indices, or at B indices that are -1
        where none is to be drawn.
        """
        for task, (first, end) in enumerate(self._shares(chosen)):
            renew, mine = self._renew[task], chosen[first:end]
            if first == end:
                continue
            if isinstance(renew, Layouts):
                renew.renew(self._rows, mine[mine >= 0])
            else:
                self._draw(self.levels[task], renew, mine)

    def _draw(self, level: Level, renew: Compiled, chosen: Tensor) -> None:
        """Draw layouts by a level's function; report a mistake in it in one line."""
        try:
            self._launch(renew, len(chosen), level.params, chosen)
        except MISTAKES as error:
            raise ValueError(f"{level.id}: {explain(level.function, error)}") from error

    def _advance(self, *arrays: Tensor) -> None:
        """Step all environments; report a mistake in a rule of one's own in one line."""
        try:
            self._launch(self._advance_kernel, self.num_envs, *arrays)
        except MISTAKES as error:
            if not self._rules:
                raise
            raise ValueError(explain_rules(self._rules, error)) from error

    def _observe(self, chosen: Tensor, image: Tensor, direction: Tensor) -> None:
        """Write observations of some environments into the batch's image, direction and mission."""
        self._launch(self._observe_kernel, len(chosen), chosen, image, direction, self._mission)

    def _show_missions(self) -> None:
        """Make the next observations show a copy of the current missions."""
        self._shown = self._launcher.copy(self._mission)

    def _shares(self, ended: Tensor) -> list[tuple[int, int]]:
        """For each level, the (start, end) of its environments among the indices."""
        if len(self.levels) == 1:
            return [(0, len(ended))]
        if len(ended) == self.num_envs:
            return list(itertools.pairwise(self._bounds))
        bounds = torch.tensor(self._bounds, device=self.device)
        cuts = torch.searchsorted(ended, bounds).tolist()
        return list(itertools.pairwise(cuts))

    def _launch(self, kernel: Compiled, count: int, *arguments: object) -> None:
        """Run a kernel over the records with tensors, numbers and tuples of numbers."""
        arrays = [self._launcher.as_array(a) if isinstance(a, Tensor) else a for a in arguments]
        self._launcher.launch(kernel, count, self._records, *arrays)

    def _empty_view(self, count: int) -> tuple[Tensor, Tensor]:
        image = torch.empty(count, self._symbols, dtype=torch.uint8, device=self.device)
        return image, torch.empty(count, dtype=torch.uint8, device=self.device)

    def _observation(
        self, image: Tensor, direction: Tensor, mission: Tensor | None = None
    ) -> Observation:
        return {
            "image": self._paint(image) if self._paint else image.view(-1, *self.image_shape),
            "direction": direction,
            "mission": self._shown if mission is None else mission,
        }

    @property
    def situations(self) -> Tensor:
        """Each agent's position and what it carries, int64 [B]: x + 256 y + 65,536 times the id of
        the carried cell.
        """
        both = self._rows[:, X_OFFSET : X_OFFSET + 4].view(torch.int16).long()
        carried = self._rows[:, CARRYING_OFFSET]
        return both[:, 0] + 256 * both[:, 1] + 65536 * carried.long()

    def render(self, i: int = 0, tile_size: int = 32) -> np.ndarray:
        """Environment i as upstream's ``render()`` draws it: uint8 [H * T, W * T, 3].

        Raises:
            IndexError: there is no environment i.
        """
        return render(self.record(i), self.options.view, tile_size)

    def record(self, i: int) -> np.void:
        """A copy of environment i's record on the host.

        Raises:
            IndexError: there is no environment i.
        """
        if not 0 <= i < self.num_envs:
            raise IndexError(f"environments are numbered 0 to {self.num_envs - 1}, got {i}")
        memory = self._memory[i * self._bytes :][: RECORD.itemsize].cpu().numpy()
        record: np.void = view_records(memory.copy(), 1, self._bytes)[0]
        return record

    def close(self) -> None:
        """Stop the worker processes that draw layouts, if there are any."""
        for renew in self._renew:
            if isinstance(renew, Layouts):
                renew.close()

    def missions(self) -> list[str]:
        """Every environment's mission as upstream's text."""
        return [decode(row) for row in self._mission.cpu().numpy()]

    @property
    def state(self) -> Tensor:
        """A copy of the environments' whole state, uint8 [B, record bytes].

        Setting it restores them bit for bit.

        Raises:
            ValueError: on setting, another shape or type, or the state of other levels.
        """
        return self._rows.clone()

    @state.setter
    def state(self, saved: Tensor) -> None:
        expected = (self.num_envs, self._bytes)
        if tuple(saved.shape) != expected or saved.dtype != torch.uint8:
            raise ValueError(
                f"expected a uint8 state of shape {expected}, "
                f"got {saved.dtype} {tuple(saved.shape)}"
            )
        self._check_levels(saved)
        self._rows[:] = saved
        self._seed, self._begun = None, True
        words = saved[:, MISSION_OFFSET : MISSION_OFFSET + self.mission_length]
        self._mission.copy_(words)
        self._show_missions()

    def __reduce__(self) -> tuple[object, ...]:
        """For pickle and copy: remade from the levels' ids, in the same state.

        Raises:
            TypeError: a level's layouts are drawn by code other than the engine's.
        """
        foreign = [level.id for level in self.levels if isinstance(level.generate, Layouts)]
        if foreign:
            raise TypeError(f"{foreign[0]}: layouts drawn by your own code cannot be copied")
        shares = [end - first for first, end in itertools.pairwise(self._bounds)]
        state = self.state if self._begun else None
        made = (self.level_ids, shares, self.device, self._seed or 0, self.options)
        return _remade, (*made, state)

    def _check_levels(self, saved: Tensor) -> None:
        """Refuse the state of other levels or an invalid one: kernels would leave the grid."""
        width, height = _column(saved, "full_width"), _column(saved, "full_height")
        x, y = _column(saved, "x"), _column(saved, "y")
        fits = (width == _column(self._rows, "full_width")) & (x >= 0) & (x < width)
        fits &= (height == _column(self._rows, "full_height")) & (y >= 0) & (y < height)
        fits &= _column(saved, "rule") == _column(self._rows, "rule")
        fits &= self._has_own_mission(saved)
        if not fits.all():
            i = int(fits.argmin())
            raise ValueError(
                f"the state of environment {i} is not one of {self.level_ids[int(self.task[i])]}"
            )

    def _has_own_mission(self, saved: Tensor) -> np.ndarray:
        """Whether the mission is the level's, where that is always the same, bool [B]."""
        words = slice(MISSION_OFFSET, MISSION_OFFSET + self.mission_length)
        same = (saved[:, words] == self._rows[:, words]).all(1).cpu().numpy()
        drawn = np.array([level.draws_mission for level in self.levels])
        return np.asarray(same | drawn[self.task.cpu().numpy()])


def _remade(
    ids: Sequence[str],
    shares: Sequence[int],
    device: torch.device,
    seed: int,
    options: Options,
    state: Tensor | None,
) -> Environments:
    """What `Environments.__reduce__` describes."""
    made = Environments([find_level(id) for id in ids], shares, device, seed, options)
    if state is not None:
        made.state = state
    return made


def _column(rows: Tensor, name: str) -> np.ndarray:
    """One field of every record, a copy on the host."""
    kind, offset = RECORD.fields[name][:2]  # type: ignore[index]
    return rows[:, offset : offset + kind.itemsize].cpu().numpy().copy().view(kind)[:, 0]
