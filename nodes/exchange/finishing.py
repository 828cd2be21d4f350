"""Work that goes on to its end although the call that wanted it has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Finishing:
    """Awaits pieces of work that must not stop half-way, and knows which are still going on."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``; a caller that is cancelled is let go only when the work is done."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # which nobody else will ask for
            raise

    async def drain(self) -> None:
        """Wait for everything that is still going on."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
