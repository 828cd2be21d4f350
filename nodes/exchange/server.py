"""An exchange as a whole: its parts put together, kept, and taken down in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fedbits.errors import ConfigError
from nodes.exchange import rpc, service
from nodes.exchange.access import Access
from nodes.exchange.call import Desk
from nodes.exchange.committer import Committer
from nodes.exchange.examination import Examiners
from nodes.exchange.finishing import Finishing
from nodes.exchange.identity import split_address
from nodes.exchange.metrics import Metrics
from nodes.exchange.publishing import Publisher
from nodes.exchange.settings import Settings
from nodes.exchange.slots import Slots, Turns
from nodes.exchange.space import Space
from nodes.exchange.store import Store
from nodes.exchange.threads import Threads

logger = logging.getLogger("fedbits.exchange")

_HOUSEKEEPING_SECONDS = 30.0
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second exchange on the same port is a mistake, not a helper
    ("grpc.max_receive_message_length", rpc.MESSAGE_LIMIT),
    ("grpc.max_metadata_size", 1 << 13),
    ("grpc.http2.max_concurrent_streams", 256),
    # Certificates are checked when a connection is made; after an hour it has to be made again.
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 600_000),
    *rpc.CONNECTION,
)


class ExchangeServer:
    """``async with ExchangeServer(settings) as server: ...`` serves from the first line to the last.

    Attributes:
        port, metrics_port: on which it listens; of the latter 0 if it does not.
        recovery: what the start found in the folder that did not fit.

    Raises:
        FedbitsError: it cannot start; the sentence says why.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.port = self.metrics_port = 0
        self._stack = AsyncExitStack()
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> ExchangeServer:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        settings, stack = self.settings, self._stack
        insecure = settings.credentials.insecure
        secrets = (
            None if insecure else settings.credentials.server()
        )  # what is wrong with them is said at once
        self._access = Access(settings.access)
        self._threads = threads = Threads()
        stack.callback(threads.close)
        self._store = store = await threads.index(Store, settings.storage)
        stack.push_async_callback(threads.index, store.close)
        self.recovery = store.recovery
        _log_recovery(store)
        self._space = Space(settings.space, store.stored(), store.partial_files(), store.discard)
        self._committer, self._finishing = Committer(store, threads), Finishing()
        stack.push_async_callback(self._committer.close)
        stack.push_async_callback(self._finishing.drain)
        self._examiners = Examiners(settings.examiners, settings.examination, self.metrics)
        stack.push_async_callback(self._examiners.close)
        await self._examiners.start()
        self._housekeeping()
        self._serve_metrics()
        handler = service.handlers(self._desk(), self._publisher(), self._reader())
        await self._listen(handler, secrets)

    def _desk(self) -> Desk:
        settings, traffic = self.settings, self.settings.traffic
        return Desk(
            access=self._access,
            metrics=self.metrics,
            insecure=settings.credentials.insecure,
            idle=traffic.idle,
            calls_per_node=traffic.calls_per_node,
            running=Counter(),
        )

    def _publisher(self) -> Publisher:
        settings, traffic = self.settings, self.settings.traffic
        return Publisher(
            store=self._store,
            threads=self._threads,
            space=self._space,
            examiners=self._examiners,
            committer=self._committer,
            metrics=self.metrics,
            slots=Slots(traffic.uploads, traffic.per_node),
            turns=Turns(),
            finishing=self._finishing,
            blob_bytes=settings.blob_bytes,
            least_rate=traffic.least_rate,
        )

    def _reader(self) -> service.Reader:
        settings, traffic = self.settings, self.settings.traffic
        return service.Reader(
            store=self._store,
            threads=self._threads,
            committer=self._committer,
            metrics=self.metrics,
            slots=Slots(traffic.downloads, traffic.per_node),
            stopping=self._stopping,
            blob_bytes=settings.blob_bytes,
            newest_format=self._examiners.newest_format,
        )

    async def _listen(self, handler: Any, secrets: Any) -> None:
        """Serve with ``secrets``, or without any if there are none."""
        settings, server = self.settings, aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((handler,))
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        try:
            if secrets is None:
                self.port = server.add_insecure_port(settings.address)
            else:
                self.port = server.add_secure_port(settings.address, secrets)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise ConfigError(
                f"cannot listen on {settings.address}: it is in use, or not an address of this machine"
            )
        await server.start()
        serving = health_pb2.HealthCheckResponse.SERVING
        await checks.set("", serving)
        await checks.set(rpc.SERVICE.full_name, serving)

        async def stop() -> None:
            await checks.enter_graceful_shutdown()
            self._stopping.set()
            self._committer.wake()
            await server.stop(settings.grace)

        self._stack.push_async_callback(stop)

    def _serve_metrics(self) -> None:
        stored = self.metrics
        stored.stored_sets.set_function(lambda: self._space.stored_sets)
        stored.stored_bytes.set_function(lambda: self._space.stored_bytes)
        stored.partial_bytes.set_function(lambda: self._space.partial_bytes)
        if self.settings.metrics is not None:
            server, self.metrics_port = stored.serve(self.settings.metrics)
            self._stack.callback(server.server_close)
            self._stack.callback(server.shutdown)

    def _housekeeping(self) -> None:
        """Keep house every so often."""

        async def work() -> None:
            while True:
                try:
                    await self.keep_house()
                except Exception:  # a full disk, say; the next time it may work
                    logger.exception("housekeeping failed")
                await asyncio.sleep(_HOUSEKEEPING_SECONDS)

        task = asyncio.create_task(work())

        async def end() -> None:
            task.cancel()
            await asyncio.wait({task})

        self._stack.push_async_callback(end)

    async def keep_house(self) -> None:
        """Remove what is not to be kept any longer."""
        self._space.forget_old()
        if self.settings.retention.limited:
            for digest, size, node in await self._threads.index(self._store.expire, self.settings.retention):
                self._space.removed(node, size)
                self.metrics.removed.inc()
                logger.info("removed", extra={"facts": {"digest": digest.hex(), "node": node, "bytes": size}})


def _log_recovery(store: Store) -> None:
    recovery = store.recovery
    if recovery.deleted:
        logger.warning("blobs that were never acknowledged", extra={"facts": {"deleted": recovery.deleted}})
    if recovery.lost:
        logger.error("blobs are missing or cut", extra={"facts": {"lost": recovery.lost}})


async def serve(settings: Settings, ready: Callable[[ExchangeServer], None]) -> None:
    """Serve until SIGTERM or SIGINT, and then for as long as calls need to end, at most ``settings.grace``.

    Raises:
        FedbitsError: the exchange cannot start.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ExchangeServer(settings) as server:
        host, _ = split_address(settings.address)
        logger.info("serving", extra={"facts": {"host": host, "port": server.port}})
        ready(server)
        await stop.wait()
        logger.info("stopping", extra={"facts": {"grace": settings.grace}})
    logger.info("stopped")
