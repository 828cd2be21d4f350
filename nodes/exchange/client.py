"""The other end: publishing, fetching, listing and watching from Python, however often calls break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from grpc import aio

import fedbits
from fedbits.errors import ConfigError, MismatchError
from fedbits.wire import exchange_pb2 as pb
from nodes.exchange import rpc
from nodes.exchange.credentials import Credentials
from nodes.exchange.downloads import Download
from nodes.exchange.identity import UNNAMED, check_name
from nodes.exchange.patience import Patience, meaning, reason_of
from nodes.exchange.refusals import Reason, RefusedError, UnreachableError
from nodes.exchange.source import Source

T = TypeVar("T")
Moved = Callable[[int], None]  # is told how far a call has come

_HELLO_SECONDS = 20.0
_OPTIONS = (
    ("grpc.max_receive_message_length", rpc.REPLY_LIMIT),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3000),
    *rpc.CONNECTION,
)


@dataclass(frozen=True)
class Target:
    """An exchange, and how to call it.

    Attributes:
        node: one's own name where there are no certificates to say it.
        patience: seconds for which a call that fails for now is tried again, from the last sign of life on.
    """

    address: str
    credentials: Credentials
    node: str = UNNAMED
    patience: float = 30.0

    def __post_init__(self) -> None:
        self.credentials.check(self.address)
        check_name(self.node)


class ExchangeClient:
    """``async with ExchangeClient(target) as client: ...``, one connection.

    Attributes:
        hello: what the exchange has said of itself.

    Raises:
        UnreachableError: nothing answers in time, or not as an exchange would.
        MismatchError: the exchange speaks another protocol.
        RefusedError: the exchange does not want the call, and says why.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.hello = pb.HelloReply()

    async def __aenter__(self) -> ExchangeClient:
        target = self.target
        if target.credentials.insecure:
            options = (*_OPTIONS, ("grpc.enable_http_proxy", 0))
            self._channel = aio.insecure_channel(target.address, options)
            named = (rpc.NODE_KEY, target.node)
        else:
            self._channel = aio.secure_channel(target.address, target.credentials.channel(), _OPTIONS)
            named = None
        self._calls = rpc.Stub(self._channel).calls
        self._metadata = tuple(filter(None, (named, (rpc.PROTOCOL_KEY, str(rpc.PROTOCOL)))))
        try:
            self.hello = await self._persist(self._greet)
        except BaseException:
            await self._channel.close()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._channel.close()

    # -------------------------------------------------------------------------------------------- methods

    async def publish(self, source: Path | bytes, parents: Sequence[bytes] = ()) -> pb.Entry:
        """Publish a blob; returns once it is stored for good, or was before.

        Args:
            source: a file, which must not change meanwhile, or the bytes.
            parents: SHA-256 of the sets that it was made from.
        """
        blob = Source.of(source)
        if blob.size > self.hello.blob_bytes:
            raise ConfigError(
                f"the blob has {blob.size:,} bytes, and the exchange takes at most {self.hello.blob_bytes:,}"
            )
        if blob.format > self.hello.newest_format:
            raise MismatchError(
                f"the blob has format version {blob.format}, and the exchange (fedbits {self.hello.version}) "
                f"reads versions up to {self.hello.newest_format}: update it"
            )
        announcement = pb.Announcement(sha256=blob.sha256, size=blob.size, parents=parents)
        return await self._persist(lambda moved: self._publish_once(blob, announcement, moved))

    async def fetch(self, digest: bytes, path: Path) -> pb.Entry:
        """Bring a set to the file ``path``, which is whole or not there; goes on where another try ended."""
        download = Download(path, digest)
        return await self._persist(lambda moved: self._fetch_once(download, moved))

    async def sets(self, asked: pb.ListRequest | None = None) -> AsyncIterator[pb.Entry]:
        """The sets that are there and chosen, in the order of their numbers."""
        page, request = pb.ListReply(more=True), pb.ListRequest()
        request.CopyFrom(asked or request)
        while page.more:
            page = await self._persist(lambda _: self._calls["List"](request, metadata=self._metadata))
            for entry in page.entries:
                yield entry
                request.after = entry.sequence

    async def watch(self, asked: pb.ListRequest | None = None) -> AsyncIterator[pb.Entry]:
        """The same, and then those that are published, without an end; goes on after a connection broke."""
        request, failing = pb.ListRequest(), Patience(self.target.patience)
        request.CopyFrom(asked or request)
        while True:
            call = self._calls["Watch"](request, metadata=self._metadata)
            try:
                async for entry in call:
                    yield entry
                    request.after = entry.sequence
                    failing.moved(entry.sequence)
            except aio.AioRpcError as error:
                await failing.pause(meaning(error, self.target.address))
            finally:
                call.cancel()

    async def find(self, prefix: str) -> pb.Entry:
        """The one set whose SHA-256 starts with ``prefix``, in hexadecimal.

        Raises:
            ConfigError: there is none, or there are several.
        """
        found = [entry async for entry in self.sets(pb.ListRequest(digest_prefix=prefix.lower()))]
        if len(found) != 1:
            many = f"{len(found):,} sets have" if found else "no set has"
            raise ConfigError(f"{many} a SHA-256 that starts with {prefix!r}: see 'fedbits exchange list'")
        return found[0]

    # ------------------------------------------------------------------------------------------- one call

    async def _greet(self, moved: Moved) -> pb.HelloReply:
        request = pb.HelloRequest(
            oldest_protocol=rpc.PROTOCOL, newest_protocol=rpc.PROTOCOL, version=fedbits.__version__
        )
        reply = await self._calls["Hello"](
            request, metadata=self._metadata, timeout=min(_HELLO_SECONDS, max(self.target.patience, 1.0))
        )
        if reply.protocol != rpc.PROTOCOL or reply.chunk_bytes == 0:
            raise UnreachableError(
                f"what answers at {self.target.address} is not an exchange that fedbits knows"
            )
        return reply

    async def _publish_once(self, blob: Source, announcement: pb.Announcement, moved: Moved) -> pb.Entry:
        call = self._calls["Publish"](metadata=self._metadata)
        try:
            await call.write(pb.PublishRequest(announcement=announcement))
            reply = await self._answer(call)
            if reply.WhichOneof("part") == "offset":
                await self._send(call, blob, reply.offset, moved)
                await call.done_writing()
                reply = await self._answer(call)
            await self._over(call)
        except asyncio.InvalidStateError:  # the exchange has ended the call while we were writing
            await _ended(call)
        finally:
            call.cancel()
        return reply.entry

    @staticmethod
    async def _over(call: Any) -> None:
        """Wait for the end of a call that gave all that was asked for: both sides then see it end well."""
        with contextlib.suppress(aio.AioRpcError):
            await call.read()

    async def _send(self, call: Any, blob: Source, offset: int, moved: Moved) -> None:
        while offset < blob.size:
            chunk = await asyncio.to_thread(blob.read, offset, min(self.hello.chunk_bytes, rpc.CHUNK))
            await call.write(pb.PublishRequest(chunk=chunk))
            offset += len(chunk)
            moved(offset)

    async def _fetch_once(self, download: Download, moved: Moved) -> pb.Entry:
        offset = await asyncio.to_thread(download.start)
        request = pb.FetchRequest(sha256=download.digest, offset=offset)
        call = self._calls["Fetch"](request, metadata=self._metadata)
        try:
            entry = (await self._answer(call)).entry
            while download.size < entry.size:
                await asyncio.to_thread(download.append, (await self._answer(call)).chunk, entry.size)
                moved(download.size)
            await self._over(call)
        except aio.AioRpcError as error:
            if reason_of(error) is Reason.AHEAD:  # what is there is no beginning of this blob
                download.discard()
                raise RefusedError(Reason.WRONG_DIGEST) from error
            raise
        finally:
            call.cancel()
            download.pause()
        await asyncio.to_thread(download.finish)
        return entry

    @staticmethod
    async def _answer(call: Any) -> Any:
        reply = await call.read()
        if reply is aio.EOF:
            await _ended(call)
        return reply

    # ------------------------------------------------------------------------------------------ many calls

    async def _persist(self, attempt: Callable[[Moved], Awaitable[T]]) -> T:
        """The result of ``attempt``, which is made again while what stands in its way may pass."""
        failing, spoilt = Patience(self.target.patience), 0
        while True:
            try:
                return await attempt(failing.moved)
            except aio.AioRpcError as error:
                meant: Exception = meaning(error, self.target.address)
            except RefusedError as error:
                meant = error
            if isinstance(meant, RefusedError) and meant.reason is Reason.WRONG_DIGEST and not spoilt:
                spoilt += 1  # by a beginning that was left by another try; both ends have forgotten it now
                continue
            await failing.pause(meant)


async def _ended(call: Any) -> None:
    """Raise what a call ended with."""
    raise aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )
