"""Turns: how many calls move bytes at the same time, in all and of each node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from nodes.exchange.refusals import Reason, RefusedError


class Slots:
    """Room for ``number`` calls, and for ``per_node`` of each node; others wait, first come first served.

    This bounds the memory of an exchange, however many call it: who waits has sent nothing yet.
    """

    def __init__(self, number: int, per_node: int) -> None:
        self._all = asyncio.Semaphore(number)
        self._per_node = per_node
        self._nodes: dict[str, _Own] = {}

    @asynccontextmanager
    async def one(self, node: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends."""
        own = self._nodes.setdefault(node, _Own(asyncio.Semaphore(self._per_node)))
        own.users += 1
        try:
            async with own.room, self._all:
                yield
        finally:
            own.users -= 1
            if own.users == 0:
                del self._nodes[node]


@dataclass
class _Own:
    """The room of one node, and how many calls use it or wait for it."""

    room: asyncio.Semaphore
    users: int = 0


class Turns:
    """One upload of a blob by a node at a time, of which the latest wins.

    A node whose connection broke calls again before the exchange has noticed; that call takes over.
    """

    def __init__(self) -> None:
        self._turns: dict[tuple[str, bytes], _Turn] = {}

    @asynccontextmanager
    async def take(self, key: tuple[str, bytes]) -> AsyncIterator[_Turn]:
        """Wait for calls about the same key to end; one that is still receiving is ended."""
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        turn.supersede()
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[key]


class _Turn:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self._receiving: asyncio.Task[Any] | None = None
        self._superseded = False

    def supersede(self) -> None:
        if self._receiving is not None:
            self._superseded = True
            self._receiving.cancel()

    async def receiving(self, work: Awaitable[Any]) -> Any:
        """Await ``work``, which a later call may end; raises :class:`RefusedError` if one does."""
        self._receiving, self._superseded = asyncio.ensure_future(work), False
        try:
            return await self._receiving
        except asyncio.CancelledError:
            if self._superseded:
                raise RefusedError(Reason.SUPERSEDED) from None
            raise
        finally:
            if not self._receiving.done():
                self._receiving.cancel()
                await asyncio.wait({self._receiving})
            self._receiving = None
