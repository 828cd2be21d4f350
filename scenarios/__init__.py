"""Continual learning with a replay memory that is counted in bytes; Avalanche brings streams and strategies.

``CompressedBuffer`` is imported when it is asked for: Avalanche takes seconds to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scenarios.memory import POLICIES, CompressedMemory, MemoryConfig

if TYPE_CHECKING:
    from scenarios.buffer import CompressedBuffer

__all__ = ["POLICIES", "CompressedBuffer", "CompressedMemory", "MemoryConfig"]


def __getattr__(name: str) -> Any:
    if name == "CompressedBuffer":
        from scenarios.buffer import CompressedBuffer

        return CompressedBuffer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
