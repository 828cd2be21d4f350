"""What a process of a campaign is doing, in a small file in memory that another one watches.

It survives the process: if an input hangs or kills it, the input is there.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

_LAYOUT = struct.Struct("<BdQI")  # whether to stop, when the current input began (or 0), inputs, its length
_LONGEST = 1 << 16


class Journal:
    """One writer (:meth:`begin`, :meth:`end`), and one watcher."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(_LAYOUT.size + _LONGEST)
            self._bytes = mmap.mmap(file.fileno(), _LAYOUT.size + _LONGEST)

    def begin(self, data: bytes) -> None:
        kept = data[:_LONGEST]
        self._bytes[_LAYOUT.size : _LAYOUT.size + len(kept)] = kept
        struct.pack_into("<d", self._bytes, 1, time.monotonic())
        struct.pack_into("<I", self._bytes, 17, len(kept))

    def end(self, inputs: int) -> None:
        struct.pack_into("<dQ", self._bytes, 1, 0.0, inputs)

    @property
    def stopping(self) -> bool:
        return self._bytes[0] != 0

    def stop(self, wanted: bool = True) -> None:
        """Ask the writer to stop after its input."""
        self._bytes[0] = wanted

    @property
    def inputs(self) -> int:
        return int(_LAYOUT.unpack_from(self._bytes)[2])

    def current(self) -> tuple[bytes, float] | None:
        """The input that is being read, and for how many seconds already."""
        _, began, _, length = _LAYOUT.unpack_from(self._bytes)
        if not began:
            return None
        return self._bytes[_LAYOUT.size : _LAYOUT.size + length], time.monotonic() - began
