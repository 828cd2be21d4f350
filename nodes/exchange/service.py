"""The methods of the exchange, but for Publish: see :mod:`nodes.exchange.publishing`."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass

import grpc

import fedbits
from fedbits.wire import exchange_pb2 as pb
from nodes.exchange import rpc
from nodes.exchange.access import Right
from nodes.exchange.call import Call, Desk
from nodes.exchange.committer import Committer
from nodes.exchange.metrics import Metrics
from nodes.exchange.publishing import DIGEST_BYTES, Publisher
from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.slots import Slots
from nodes.exchange.store import Store
from nodes.exchange.threads import Threads

_LOOK_SECONDS = 1.0  # in which a watcher that has lost its right is told so
_PREFIX = re.compile(r"[0-9a-f]{0,64}")


@dataclass(frozen=True)
class Reader:
    """The methods Hello, Fetch, List and Watch; ``stopping`` ends watches, which do not end by themselves."""

    store: Store
    threads: Threads
    committer: Committer
    metrics: Metrics
    slots: Slots
    stopping: asyncio.Event
    blob_bytes: int
    newest_format: int

    async def hello(self, request: pb.HelloRequest, call: Call) -> pb.HelloReply:
        """Agree on a protocol; the versions of both sides go to the log."""
        call.facts |= {"version": request.version[:50]}
        if not request.oldest_protocol <= rpc.PROTOCOL <= request.newest_protocol:
            spoken = f"{request.oldest_protocol} to {request.newest_protocol}"
            raise RefusedError(
                Reason.PROTOCOL,
                f"this exchange (fedbits {fedbits.__version__}) speaks protocol {rpc.PROTOCOL}, "
                f"the caller {spoken}",
            )
        return pb.HelloReply(
            protocol=rpc.PROTOCOL,
            version=fedbits.__version__,
            newest_format=self.newest_format,
            blob_bytes=self.blob_bytes,
            chunk_bytes=rpc.CHUNK,
            node=call.node,
        )

    async def fetch(self, request: pb.FetchRequest, call: Call) -> None:
        """Send a set from an offset on."""
        if len(request.sha256) != DIGEST_BYTES:
            raise RefusedError(Reason.BAD_REQUEST, "a SHA-256 has 32 bytes")
        call.facts |= {"digest": request.sha256.hex(), "resumed_at": request.offset}
        entry = await self.threads.index(self.store.find, request.sha256)
        if request.offset > entry.size:
            raise RefusedError(Reason.AHEAD, f"the blob has {entry.size:,} bytes, not {request.offset:,}")
        async with self.slots.one(call.node):
            await self._send(entry, request.offset, call)

    async def _send(self, entry: pb.Entry, offset: int, call: Call) -> None:
        try:
            descriptor = await self.threads.disk(os.open, self.store.blob(entry.sha256), os.O_RDONLY)
        except FileNotFoundError:  # retention was faster
            raise RefusedError(Reason.UNKNOWN_SET) from None
        try:
            await call.write(pb.FetchReply(entry=entry))
            while offset < entry.size:
                chunk = await self.threads.disk(os.pread, descriptor, rpc.CHUNK, offset)
                if not chunk:
                    raise RefusedError(Reason.FAILED)
                await call.write(pb.FetchReply(chunk=chunk))
                offset += len(chunk)
                self.metrics.sent.inc(len(chunk))
        finally:
            os.close(descriptor)

    async def list_sets(self, request: pb.ListRequest, call: Call) -> pb.ListReply:
        """One page."""
        entries, more = await self._page(request)
        return pb.ListReply(entries=entries, more=more)

    async def watch(self, request: pb.ListRequest, call: Call) -> None:
        """Send what is there, and then what comes, until somebody has enough."""
        if request.after > self.committer.last:
            raise RefusedError(
                Reason.AHEAD,
                f"the last set has number {self.committer.last}, not {request.after}: this is another "
                "exchange than the one that was watched, or a former state of it",
            )
        asked = pb.ListRequest()
        asked.CopyFrom(request)
        while not self.stopping.is_set():
            last = self.committer.last
            if asked.after < last:
                entries, more = await self._page(asked)
                for entry in entries:
                    await call.write(entry)
                asked.after = entries[-1].sequence if more else max(last, *(e.sequence for e in entries), 0)
            else:
                await self.committer.wait_for_news(_LOOK_SECONDS)
                call.rule()
        raise RefusedError(Reason.SHUTDOWN)

    async def _page(self, asked: pb.ListRequest) -> tuple[list[pb.Entry], bool]:
        if not _PREFIX.fullmatch(asked.digest_prefix):
            raise RefusedError(Reason.BAD_REQUEST, "a SHA-256 starts with at most 64 of 0-9 and a-f")
        if asked.after >= 1 << 63:
            raise RefusedError(Reason.BAD_REQUEST, "sequence numbers end before 2^63")
        return await self.threads.index(self.store.index.page, asked)


def handlers(desk: Desk, publisher: Publisher, reader: Reader) -> grpc.GenericRpcHandler:
    """The whole service, each method with the right that it takes."""
    return rpc.handlers(
        {
            "Hello": desk.method("Hello", reader.hello, None),
            "Publish": desk.method("Publish", publisher.publish, Right.PUBLISH),
            "Fetch": desk.method("Fetch", reader.fetch, Right.FETCH),
            "List": desk.method("List", reader.list_sets, Right.FETCH),
            "Watch": desk.method("Watch", reader.watch, Right.FETCH),
        }
    )
