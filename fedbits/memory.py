"""How this process uses memory: a setting for commands and nodes, never made by an import."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's mallopt
_LARGEST = 1 << 30


def keep_freed_memory() -> bool:
    """Let the allocator keep freed blocks of up to 1 GiB for the next ones; whether it does.

    By default glibc gives blocks above 32 MiB back to the system, so that each large tensor starts on fresh
    pages, and getting those takes a CPU up to as long as computing the tensor. The process keeps its peak
    memory until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _LARGEST))
