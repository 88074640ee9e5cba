"""The host's memory."""

from __future__ import annotations

import ctypes
import platform

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


TOO_LARGE = ("can't allocate memory", "overflow", "too large", "too big", "dimension exceeded")


def ran_out_of_memory(error: Exception) -> bool:
    """Whether an error of PyTorch, NumPy or Python means that memory ran out, on the host or a GPU,
    or that more was requested than any machine has.
    """
    kinds = (MemoryError, torch.OutOfMemoryError, OverflowError)
    return isinstance(error, kinds) or any(words in str(error).lower() for words in TOO_LARGE)


def keep_freed_memory() -> None:
    """Keep freed memory in this process for later allocations, where glibc can.

    By default large tensors are returned to the system and faulted in again, page by page: with a
    batch of 256 that took a seventh of the RIMs cell's time.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(MMAP_THRESHOLD, 2**30)
