"""Continual learning with a replay memory that is counted in bytes; Avalanche brings streams and strategies.

Names are imported when they are asked for: the command must start at once, and Avalanche takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scenarios.buffer import CompressedBuffer
    from scenarios.memory import CompressedMemory, MemoryConfig
    from scenarios.online import OnlineMemory

__all__ = ["CompressedBuffer", "CompressedMemory", "MemoryConfig", "OnlineMemory"]

_MODULES = {
    "CompressedBuffer": "buffer",
    "CompressedMemory": "memory",
    "MemoryConfig": "memory",
    "OnlineMemory": "online",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"scenarios.{_MODULES[name]}"), name)
