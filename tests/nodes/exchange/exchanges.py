"""Exchanges under test, and ways to call them that no client of ours would take."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from fedbits.wire import exchange_pb2 as pb
from nodes.exchange import rpc
from nodes.exchange.client import ExchangeClient, Target
from nodes.exchange.credentials import Credentials
from nodes.exchange.examination import Examiners
from nodes.exchange.server import ExchangeServer

Loop = Callable[[Coroutine[Any, Any, Any]], Any]


class SharedExaminers:
    """Stands in for an exchange's own examiners, as starting those takes seconds."""

    def __init__(self, shared: Examiners) -> None:
        self._shared = shared
        self.newest_format = shared.newest_format
        self.examine = shared.examine

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass
class Running:
    """An exchange that runs in the loop; what is awaited here is awaited there."""

    loop: Loop
    server: ExchangeServer
    stopped: bool = False

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.loop(self.server.__aexit__())

    @property
    def address(self) -> str:
        return f"localhost:{self.server.port}"

    @property
    def folder(self) -> Path:
        return self.server.settings.storage

    def partials(self) -> list[Path]:
        return list((self.folder / "partial").iterdir())

    def target(
        self, node: str = "alpha", credentials: Credentials | None = None, patience: float = 3.0
    ) -> Target:
        return Target(self.address, credentials or Credentials(insecure=True), node, patience)

    def ask(self, work: Callable[[ExchangeClient], Coroutine[Any, Any, Any]], **target: Any) -> Any:
        """What ``work`` gives with a client that is connected."""

        async def talk() -> Any:
            async with ExchangeClient(self.target(**target)) as client:
                return await work(client)

        return self.loop(talk())

    def publish(self, blob: bytes, **target: Any) -> pb.Entry:
        return self.ask(lambda client: client.publish(blob), **target)

    def sets(self, asked: pb.ListRequest | None = None, **target: Any) -> list[pb.Entry]:
        async def work(client: ExchangeClient) -> list[pb.Entry]:
            return [entry async for entry in client.sets(asked)]

        return self.ask(work, **target)

    def watched(self, number: int, asked: pb.ListRequest | None = None, **target: Any) -> list[pb.Entry]:
        """The first sets that a watch sees."""

        async def work(client: ExchangeClient) -> list[pb.Entry]:
            return await first(number, client.watch(asked))

        return self.ask(work, **target)

    def refused(
        self, requests: list[pb.PublishRequest], wait: bool = False, **metadata: str
    ) -> tuple[str, str]:
        """Reason and status of an upload of just these messages; ``wait`` leaves it open after them."""
        return self.loop(_refused(self.address, requests, wait, metadata))


async def first(number: int, entries: AsyncIterator[pb.Entry]) -> list[pb.Entry]:
    found = []
    async for entry in entries:
        found.append(entry)
        if len(found) == number:
            break
    return found


@asynccontextmanager
async def raw_calls(address: str) -> AsyncIterator[dict[str, Any]]:
    """The methods of the service, to be called in any way."""
    channel = aio.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),))
    try:
        yield rpc.Stub(channel).calls
    finally:
        await channel.close()


async def _refused(
    address: str, requests: list[pb.PublishRequest], wait: bool, metadata: dict[str, str]
) -> tuple[str, str]:
    keys = {"protocol": rpc.PROTOCOL_KEY, "node": rpc.NODE_KEY}
    given = {"protocol": "1", "node": "alpha"} | metadata
    async with raw_calls(address) as calls:
        call = calls["Publish"](metadata=tuple((keys[key], value) for key, value in given.items()))
        try:
            for request in requests:
                await call.write(request)
                await asyncio.sleep(0)
            if not wait:
                await call.done_writing()
            while await call.read() is not aio.EOF:
                pass
        except (aio.AioRpcError, asyncio.InvalidStateError):
            pass
        code: grpc.StatusCode = await call.code()
        return dict(await call.trailing_metadata() or ()).get(rpc.REASON_KEY, ""), code.name


def announce(blob: bytes, **other: Any) -> pb.PublishRequest:
    """The announcement of ``blob``, or one with ``other`` fields."""
    fields = {"sha256": hashlib.sha256(blob).digest(), "size": len(blob)} | other
    return pb.PublishRequest(announcement=pb.Announcement(**fields))


def chunk(content: bytes) -> pb.PublishRequest:
    return pb.PublishRequest(chunk=content)
