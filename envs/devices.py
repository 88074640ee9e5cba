"""Where a batch runs: the devices, and the interface of their launchers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from . import cpu
from .jit import Compiled
from .rules import Rule


class Launcher(Protocol):
    """A module that compiles and runs kernels on a device: ``envs.cpu`` or ``envs.gpu``.

    ``launch`` runs a kernel over ``count`` environments, the first or the first of some chosen
    ones, with plain numbers and arrays from ``as_array`` and ``as_records``.
    """

    def as_array(self, tensor: Tensor) -> object:
        """The tensor's memory as a kernel argument."""
        ...

    def as_records(self, memory: Tensor, count: int, size: int) -> object:
        """``count`` records over uint8 memory, ``size`` bytes apart."""
        ...

    def check_actions(self, actions: Tensor) -> None:
        """Refuse actions int64 [B] out of range, unless the check would synchronise."""
        ...

    def find_ended(self, ends: Tensor, everyone: Tensor) -> tuple[Tensor, Tensor]:
        """The environments where either row of bool [2, B] is true; ``everyone`` is all indices.

        Returns:
            Indices, int64 [n], that include all of these; and exactly these, ascending, or B
            numbers with −1 in place of the others. Kernels skip −1.
        """
        ...

    def copy_rows(self, tensor: Tensor, indices: Tensor) -> Tensor:
        """A copy of the rows of tensor [B, ...] at indices int64 [n]: [n, ...]."""
        ...

    def copy(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor, sharing no memory with it."""
        ...

    def make_memory(self, device: torch.device) -> Callable[[int], Tensor]:
        """An allocator of uint8 [size], uninitialised, whose memory nothing else uses."""
        ...

    def launch(self, kernel: Compiled, count: int, *arrays: object) -> None:
        """Run a kernel over 0 to ``count``, after the work already queued on the device."""
        ...

    def make_advance(self, write_view: Compiled, own: tuple[Rule, ...]) -> Compiled:
        """The kernel that steps, by these rules too; takes actions, image, direction, reward and
        ends.
        """
        ...

    def make_renew(self, generate: Compiled) -> Compiled:
        """The kernel that draws new layouts; takes the level's parameters, chosen."""
        ...

    def make_observe(self, write_view: Compiled, settled: bool) -> Compiled:
        """The kernel that observes; takes chosen, image, direction, mission."""
        ...

    def make_paint(self, view: int, tile: int, words: int) -> Compiled:
        """The kernel that paints images; takes image, sprite_of, sprites, pixels."""
        ...


def find_device(device: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: it is neither "cpu" nor "cuda", or not available, or a GPU other than PyTorch's
            current one, on which kernels run.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device '{device}': use 'cpu' or 'cuda'") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"environments run on 'cpu' or 'cuda', not on '{device}'")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device '{device}' is not available: PyTorch sees no GPU; use 'cpu'")
    if found.type == "cuda" and found.index not in (None, torch.cuda.current_device()):
        raise ValueError(
            f"device '{device}' is not the current one: call torch.cuda.set_device({found.index}) "
            "first"
        )
    return found


def find_launcher(device: torch.device) -> Launcher:
    """The module that compiles and runs kernels on a device."""
    if device.type == "cuda":
        from . import gpu  # needs the extra `cuda`

        return gpu
    return cpu
