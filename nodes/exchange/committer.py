"""Publications in batches: as many as have gathered while the disk was at the last ones."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3

from fedbits.wire import exchange_pb2 as pb
from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.store import Candidate, Store
from nodes.exchange.threads import Threads

_LARGEST_BATCH = 256
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_Waiting = tuple[Candidate, asyncio.Future[pb.Entry]]


class Committer:
    """Stores candidates durably, and tells watchers of it.

    Attributes:
        last: the highest sequence number that has been given.
    """

    def __init__(self, store: Store, threads: Threads) -> None:
        self._store, self._threads = store, threads
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._news = asyncio.Event()
        self.last = store.index.last()
        self._task = asyncio.create_task(self._run())

    async def commit(self, candidate: Candidate) -> pb.Entry:
        """The entry of a set that is stored for good.

        Raises:
            RefusedError: it is not: it was published meanwhile, or there is no room for it.
        """
        done: asyncio.Future[pb.Entry] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((candidate, done))
        return await done

    async def wait_for_news(self, seconds: float) -> None:
        """Return when something is published, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def wake(self) -> None:
        """Let everybody who waits for news look again."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def close(self) -> None:
        """End; nobody may be waiting for a commit any longer."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _LARGEST_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                outcomes = await self._threads.index(
                    self._store.commit, [candidate for candidate, _ in batch]
                )
            except Exception as error:  # whatever it is, those after it must not wait for ever
                outcomes = [error] * len(batch)
            for (_, done), outcome in zip(batch, outcomes, strict=True):
                self._tell(done, outcome)
            self.wake()

    def _tell(self, done: asyncio.Future[pb.Entry], outcome: pb.Entry | Exception) -> None:
        if isinstance(outcome, pb.Entry):
            self.last = max(self.last, outcome.sequence)
        if done.cancelled():
            return
        if isinstance(outcome, pb.Entry):
            done.set_result(outcome)
        elif isinstance(outcome, RefusedError):
            done.set_exception(outcome)
        else:
            done.set_exception(failure_of(outcome))


def failure_of(error: Exception) -> RefusedError:
    """What a caller is told of a disk that does not do what it should; the cause is for the log."""
    full = isinstance(error, sqlite3.OperationalError) and "full" in str(error)
    full = full or (isinstance(error, OSError) and error.errno in _FULL)
    refusal = RefusedError(Reason.DISK_FULL if full else Reason.FAILED)
    refusal.__cause__ = error
    return refusal
