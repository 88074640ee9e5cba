"""Ranks: processes that train one agent together, each on its part of the environments.

`torch.distributed` with gloo on CPUs and NCCL on GPUs. With one rank, all of this is the identity,
to the bit. What all ranks must agree on, gradients and the figures that decide whether a step is
taken, is averaged over them; rank 0 writes.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from .errors import UsageError

RANK, SIZE = "RANK", "WORLD_SIZE"  # environment variables, as set by torchrun


def are_several() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get(SIZE, 1)) > 1


def join(device: str) -> str:
    """Join the process group, if there is one; returns this rank's device, a GPU each."""
    if not are_several():
        return device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    if not dist.is_initialized():
        dist.init_process_group("gloo" if device == "cpu" else "nccl")
    return device


def wait_for_all() -> None:
    """Wait for every rank: one that left earlier would break the others' connections."""
    if size() > 1:
        _call(dist.barrier)


def exit_with(code: int) -> NoReturn:
    """End this process; if there are several, at once, with the output flushed: a group's threads
    can crash a normal exit ("terminate called without an active exception").
    """
    if are_several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def rank() -> int:
    """This process's rank, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_generator(device: torch.device, seed: int, part: int | None = None) -> torch.Generator:
    """A generator for one part, by default this rank; that of part 0 has the seed itself.

    On a CPU only 32 bits of a seed count, so parts are told apart by hashing, not by higher bits.
    """
    own = rank() if part is None else part
    mixed = int(np.random.SeedSequence([seed, own]).generate_state(1)[0]) if own else seed
    return torch.Generator(device).manual_seed(mixed)


def mean(x: Tensor) -> Tensor:
    """Mean of a tensor over ranks, without gradient."""
    if size() == 1:
        return x
    total = x.detach().clone()
    _reduce(total)
    return total / size()


def any_of(condition: bool) -> bool:
    """Whether the condition holds on any rank."""
    if size() == 1:
        return condition
    device = "cpu" if dist.get_backend() == "gloo" else "cuda"
    return bool(mean(torch.tensor(float(condition), device=device)) > 0)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (n − 1) over the elements of all ranks, equally many on each."""
    if size() == 1:
        return x.mean(), x.std()
    centre = mean(x.mean())
    variance = mean((x - centre).square().sum()) * (size() / (size() * x.numel() - 1))
    return centre, variance.sqrt()


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Average floating-point tensors over ranks, in place; equal ones stay the same, to the bit."""
    if size() == 1:
        return
    own = [tensor for tensor in tensors if tensor.is_floating_point()]
    joined = torch.cat([tensor.flatten().double() for tensor in own])
    _reduce(joined)
    parts = (joined / size()).split([tensor.numel() for tensor in own])
    for tensor, part in zip(own, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def gather(x: Tensor) -> list[Tensor]:
    """Every rank's tensor, in order; of one dtype, and of equal shapes but for the first axis."""
    if size() == 1:
        return [x]
    lengths = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(size())]
    _call(dist.all_gather, lengths, torch.tensor([len(x)], device=x.device))
    shapes = [(int(length), *x.shape[1:]) for length in lengths]
    sizes = [math.prod(shape) * x.itemsize for shape in shapes]
    padded = torch.zeros(max(sizes), dtype=torch.uint8, device=x.device)  # fits any dtype
    own = x.contiguous().view(-1).view(torch.uint8)
    padded[: len(own)] = own
    found = [torch.empty_like(padded) for _ in range(size())]
    _call(dist.all_gather, found, padded)
    parts = zip(found, sizes, shapes, strict=True)
    return [part[:count].view(x.dtype).view(shape) for part, count, shape in parts]


def _reduce(x: Tensor) -> None:
    _call(dist.all_reduce, x)


def _call(collective: Callable[..., object], *arguments: object) -> None:
    try:
        collective(*arguments)
    except RuntimeError as error:
        raise UsageError("another rank exited: resume from the last checkpoint") from error
