"""The host's memory."""

from __future__ import annotations

import ctypes
import platform

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


TOO_LARGE = ("can't allocate memory", "overflow", "too large", "too big", "dimension exceeded")


def ran_out_of_memory(error: Exception) -> bool:
    """Whether that is what an error of PyTorch's, NumPy's or Python's is about, on the host or a
    GPU: memory that is not there, or that no machine has.
    """
    kinds = (MemoryError, torch.OutOfMemoryError, OverflowError)
    return isinstance(error, kinds) or any(words in str(error).lower() for words in TOO_LARGE)


def keep_freed_memory() -> None:
    """Have this process keep what it frees for what it allocates next, where glibc can.

    By default large tensors go back to the system and are faulted in anew, page by page: with a
    batch of 256 that was a seventh of the RIMs cell's time.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(MMAP_THRESHOLD, 2**30)
