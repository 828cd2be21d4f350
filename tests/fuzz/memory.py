"""The memory that one input takes: measured for each, and bounded by the system."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

_UNIT = 1 << 20 if sys.platform == "darwin" else 1 << 10  # what a unit of ru_maxrss is of a megabyte
_PEAKS = Path("/proc/self/clear_refs")  # Linux: "5" lets the peak begin again, in two microseconds
_STATUS = Path("/proc/self/status")


class Peak:
    """Megabytes of resident memory above those at the start, at most.

    Where the system cannot let the peak begin again, what the process once held is not seen a second time.
    """

    def __init__(self) -> None:
        try:
            self._reset = os.open(_PEAKS, os.O_WRONLY)
        except OSError:
            self._reset = -1
        self.start()

    def start(self) -> None:
        if self._reset >= 0:
            os.pwrite(self._reset, b"5", 0)
        self._before = peak_megabytes()

    def grown(self) -> float:
        return peak_megabytes() - self._before


def peak_megabytes() -> float:
    """The most memory that this process has held (since :meth:`Peak.start`, where that is possible)."""
    if _STATUS.exists():  # ru_maxrss also knows what the process was forked from, and never forgets it
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / (1 << 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNIT


def bound(megabytes: int) -> None:
    """Let the address space grow by so much at most (Linux): beyond, allocations fail."""
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        limit = int(sizes.read_text().split()[0]) * resource.getpagesize() + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
