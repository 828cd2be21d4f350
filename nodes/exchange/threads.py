"""Where an exchange waits for its disk, so that its event loop does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_DISK_THREADS = 8


class Threads:
    """A few threads for the bytes of blobs, and the one that the index belongs to."""

    def __init__(self) -> None:
        self._disk = ThreadPoolExecutor(_DISK_THREADS, "exchange-disk")
        self._index = ThreadPoolExecutor(1, "exchange-index")

    async def disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` in any thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, lambda: work(*args, **kwargs))

    async def index(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` in the thread of the index, after everything that was given to it before."""
        return await asyncio.get_running_loop().run_in_executor(self._index, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Wait for what has been given, and end the threads."""
        self._disk.shutdown()
        self._index.shutdown()
