"""How a set is published: announced, received, examined, stored, acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from fedbits.wire import exchange_pb2 as pb
from nodes.exchange import rpc
from nodes.exchange.call import Call
from nodes.exchange.committer import Committer, failure_of
from nodes.exchange.examination import Examiners
from nodes.exchange.finishing import Finishing
from nodes.exchange.metrics import Metrics
from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.slots import Slots, Turns
from nodes.exchange.space import Space
from nodes.exchange.store import Candidate, Store
from nodes.exchange.threads import Threads

DIGEST_BYTES = hashlib.sha256().digest_size
MAX_PARENTS = 64
# What was received is worth nothing, and must not be gone on with.
_SPOILT = frozenset(Reason) - {Reason.FAILED, Reason.DISK_FULL, Reason.BUSY, Reason.SHUTDOWN}


@dataclass(frozen=True)
class Publisher:
    """The method ``Publish``.

    Attributes:
        blob_bytes: of the largest blob that it takes.
        least_rate: bytes a second that an upload must have on the whole.
    """

    store: Store
    threads: Threads
    space: Space
    examiners: Examiners
    committer: Committer
    metrics: Metrics
    slots: Slots
    turns: Turns
    finishing: Finishing
    blob_bytes: int
    least_rate: int

    async def publish(self, _: object, call: Call) -> None:
        """Serve one call."""
        announced = await self._announcement(call)
        digest = announced.sha256
        call.facts |= {"digest": digest.hex(), "bytes": announced.size}
        async with self.turns.take((call.node, digest)) as turn:
            entry = await self.threads.index(self.store.admitted, digest, call.node)
            if entry is None:
                try:
                    await turn.receiving(self._receive(announced, call))
                    entry = await self._settled(announced, call.node)
                finally:
                    self.space.release((call.node, digest))
                call.facts["sequence"] = entry.sequence
            else:
                call.facts["known"] = True
            await call.write(pb.PublishReply(entry=entry))

    async def _announcement(self, call: Call) -> pb.Announcement:
        request = await call.read()
        if request is None or request.WhichOneof("part") != "announcement":
            raise RefusedError(Reason.BAD_REQUEST, "the upload does not start with an announcement")
        announced = request.announcement
        if len(announced.sha256) != DIGEST_BYTES or announced.size == 0:
            raise RefusedError(Reason.BAD_REQUEST, "the announcement lacks a SHA-256 of 32 bytes or a size")
        parents = announced.parents
        if len(parents) > MAX_PARENTS or any(len(parent) != DIGEST_BYTES for parent in parents):
            raise RefusedError(Reason.BAD_REQUEST, f"parents are at most {MAX_PARENTS} SHA-256 of 32 bytes")
        if announced.size > self.blob_bytes:
            raise RefusedError(
                Reason.TOO_LARGE,
                f"the blob has {announced.size:,} bytes, and the exchange takes {self.blob_bytes:,}",
            )
        return announced

    async def _receive(self, announced: pb.Announcement, call: Call) -> None:
        """Let the upload's file grow to the announced size; what has arrived stays, however this ends."""
        key = (call.node, announced.sha256)
        async with self.slots.one(call.node):
            free = await self.threads.disk(self.store.free)
            self.space.claim(key, announced.size, call.rule().quota, free)
            if self.space.arrived(key) > announced.size:  # of an announcement that gave another size
                self.space.drop(key)
            offset = self.space.arrived(key)
            call.facts["resumed_at"] = offset
            try:
                async with asyncio.timeout(call.idle + (announced.size - offset) / self.least_rate):
                    await self._take(key, offset, announced.size, call)
            except TimeoutError:
                raise RefusedError(
                    Reason.IDLE, f"less than {self.least_rate:,} bytes a second came"
                ) from None

    async def _take(self, key: tuple[str, bytes], offset: int, size: int, call: Call) -> None:
        await call.write(pb.PublishReply(offset=offset))
        while offset < size:
            chunk = await self._chunk(call, size - offset)
            await self._append(key, offset, chunk)
            offset += len(chunk)
            self.metrics.received.inc(len(chunk))

    async def _chunk(self, call: Call, left: int) -> bytes:
        request = await call.read()
        if request is None:
            raise RefusedError(Reason.INCOMPLETE)
        if request.WhichOneof("part") != "chunk" or not 0 < len(request.chunk) <= rpc.CHUNK:
            raise RefusedError(Reason.BAD_REQUEST, f"a chunk has 1 to {rpc.CHUNK:,} bytes")
        if len(request.chunk) > left:
            raise RefusedError(Reason.OVERRUN)
        return bytes(request.chunk)

    async def _append(self, key: tuple[str, bytes], offset: int, chunk: bytes) -> None:
        """Write, and count what was written; not given up half-way, so that both stay in step."""

        async def work() -> None:
            try:
                await self.threads.disk(_write_at, self.store.partial(*key), offset, chunk)
            except OSError as error:
                raise failure_of(error) from error
            self.space.grew(key, offset + len(chunk))

        await self.finishing.to_its_end(work())

    async def _settled(self, announced: pb.Announcement, node: str) -> pb.Entry:
        return await self.finishing.to_its_end(self._settle(announced, node))

    async def _settle(self, announced: pb.Announcement, node: str) -> pb.Entry:
        """Examine and store an upload that is whole."""
        key, path = (node, announced.sha256), self.store.partial(node, announced.sha256)
        try:
            facts = await self.examiners.examine(path, announced.sha256, announced.size)
            entry = pb.Entry(
                sha256=announced.sha256, size=announced.size, node=node, parents=announced.parents, **facts
            )
            stored = await self.committer.commit(Candidate(entry, path))
        except RefusedError as error:
            if error.reason in _SPOILT or not await self.threads.disk(path.exists):
                self.space.drop(key)
            raise
        self.space.published(key, announced.size)
        self.metrics.published.inc()
        return stored


def _write_at(path: Path, offset: int, chunk: bytes) -> None:
    """Write a chunk at the end of an upload's file, which is made with the first one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, offset)  # what came before this was counted; what came after it was not
        written = 0
        while written < len(chunk):
            written += os.pwrite(descriptor, chunk[written:], offset + written)
    finally:
        os.close(descriptor)
