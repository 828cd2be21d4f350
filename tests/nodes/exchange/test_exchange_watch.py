"""Lists that go on, and downloads that do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from exchanges import Running, first

from fedbits.errors import ConfigError, FedbitsError
from fedbits.wire import exchange_pb2 as pb
from nodes.exchange import access
from nodes.exchange.client import ExchangeClient
from nodes.exchange.refusals import Reason, RefusedError, UnreachableError
from nodes.exchange.server import ExchangeServer
from nodes.exchange.store import Retention

Exchange = Callable[..., Running]


def numbers(entries: list[pb.Entry]) -> list[int]:
    return [entry.sequence for entry in entries]


def test_a_watch_sees_what_is_there_and_what_comes(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    running.publish(blobs[0])

    async def watch_while_publishing() -> list[pb.Entry]:
        async with (
            ExchangeClient(running.target("beta")) as watcher,
            ExchangeClient(running.target()) as publisher,
        ):
            watching = asyncio.create_task(first(3, watcher.watch()))
            await asyncio.sleep(0.05)
            for blob in blobs[1:3]:
                await publisher.publish(blob)
            return await watching

    assert numbers(running.loop(watch_while_publishing())) == [1, 2, 3]
    assert numbers(running.watched(1, pb.ListRequest(after=2))) == [3]


def test_a_watch_can_be_choosy(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    for node, blob in zip(("alpha", "beta", "alpha", "beta"), blobs, strict=False):
        running.publish(blob, node=node)
    assert numbers(running.watched(2, pb.ListRequest(node="beta"))) == [2, 4]
    assert numbers(running.sets(pb.ListRequest(node="alpha", after=1))) == [3]


def test_a_watch_beyond_the_end_is_of_another_exchange(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    running.publish(blobs[0])
    with pytest.raises(RefusedError, match="last set has number 1, not 9") as refused:
        running.watched(1, pb.ListRequest(after=9))
    assert refused.value.reason is Reason.AHEAD


def test_a_watch_outlives_the_exchange(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    running.publish(blobs[0])

    async def watch_across_a_restart() -> list[pb.Entry]:
        async with ExchangeClient(running.target("beta", patience=20.0)) as watcher:
            watching = asyncio.create_task(first(2, watcher.watch()))
            await asyncio.sleep(0.1)
            settings, port = running.server.settings, running.server.port
            await running.server.__aexit__()
            again = type(settings)(**{**vars(settings), "address": f"127.0.0.1:{port}"})
            running.server = await ExchangeServer(again).__aenter__()
            async with ExchangeClient(running.target()) as publisher:
                await publisher.publish(blobs[1])
            return await watching

    assert numbers(running.loop(watch_across_a_restart())) == [1, 2]


def test_a_watcher_that_is_revoked_is_sent_away(
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_PERIOD", 0.0)
    path = tmp_path / "access.toml"
    path.write_text("[default]\nfetch = true\n")
    running = exchange(access=path)

    async def watch_and_revoke() -> None:
        async with ExchangeClient(running.target("beta")) as watcher:
            watching = asyncio.create_task(first(1, watcher.watch()))
            await asyncio.sleep(0.1)
            path.write_text("[default]\nfetch = true\n[nodes.beta]\nrevoked = true\n")
            await watching

    with pytest.raises(RefusedError) as refused:
        running.loop(watch_and_revoke())
    assert refused.value.reason is Reason.REVOKED


def test_rights_are_asked_for(exchange: Exchange, blobs: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "access.toml"
    path.write_text("[nodes.alpha]\npublish = true\n[nodes.beta]\nfetch = true\n")
    running = exchange(access=path)
    running.publish(blobs[0], node="alpha")
    assert numbers(running.sets(node="beta")) == [1]
    for work, node in (
        (lambda: running.sets(node="alpha"), "alpha"),
        (lambda: running.watched(1, node="alpha"), "alpha"),
        (lambda: running.publish(blobs[1], node="beta"), "beta"),
        (lambda: running.sets(node="nobody"), "nobody"),
    ):
        with pytest.raises(RefusedError) as refused:
            work()
        assert refused.value.reason is Reason.FORBIDDEN, node


def test_a_fetch_goes_on_where_it_ended(exchange: Exchange, blobs: list[bytes], tmp_path: Path) -> None:
    running = exchange()
    entry = running.publish(blobs[0])
    part = tmp_path / f".got.{entry.sha256.hex()[:16]}.part"
    sent = running.server.metrics.sent._value
    size = len(blobs[0])
    for beginning, expected in ((blobs[0][:50], size - 50), (b"X" * 50, 2 * size - 50), (b"X" * 999, size)):
        part.write_bytes(beginning)
        before = sent.get()
        running.ask(lambda client: client.fetch(entry.sha256, tmp_path / "got"))
        assert (tmp_path / "got").read_bytes() == blobs[0] and not part.exists()
        assert sent.get() - before == expected  # where the beginning is wrong, from the start again


def test_what_is_not_there_cannot_be_fetched(exchange: Exchange, blobs: list[bytes], tmp_path: Path) -> None:
    running = exchange(retention=Retention(seconds=1e-3))
    with pytest.raises(RefusedError) as refused:
        running.ask(lambda client: client.fetch(bytes(32), tmp_path / "got"))
    assert refused.value.reason is Reason.UNKNOWN_SET and not (tmp_path / "got").exists()
    entry = running.publish(blobs[0])

    async def expire() -> None:
        await asyncio.sleep(0.01)
        await running.server.keep_house()

    running.loop(expire())
    assert running.sets() == [] and list((running.folder / "blobs").iterdir()) == []
    with pytest.raises(RefusedError):
        running.ask(lambda client: client.fetch(entry.sha256, tmp_path / "got"))


def test_a_set_is_found_by_its_first_digits(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    entry = running.publish(blobs[0])
    assert running.ask(lambda client: client.find(entry.sha256.hex()[:8].upper())) == entry
    running.publish(blobs[1])
    for prefix, words in (("", "2 sets have"), ("f" * 64, "no set has")):
        with pytest.raises(ConfigError, match=words):
            running.ask(lambda client, prefix=prefix: client.find(prefix))
    with pytest.raises(RefusedError):
        running.ask(lambda client: client.find("xyz"))


def test_versions_are_compared(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    running = exchange()
    hello = running.ask(lambda client: _hello(client), node="beta")
    assert hello.node == "beta" and hello.protocol == 1 and hello.newest_format == 1
    greet = pb.HelloRequest
    monkeypatch.setattr(pb, "HelloRequest", lambda **given: greet(oldest_protocol=2, newest_protocol=3))
    with pytest.raises(FedbitsError, match="speaks protocol 1, the caller 2 to 3"):
        running.ask(_hello)


async def _hello(client: ExchangeClient) -> pb.HelloReply:
    return client.hello


def test_nobody_there_is_one_sentence(exchange: Exchange) -> None:
    running = exchange()
    target = running.target(patience=0.3)
    running.stop()

    async def call() -> None:
        async with ExchangeClient(target):
            pass

    with pytest.raises(UnreachableError, match="no exchange answers at localhost:"):
        running.loop(call())


def test_a_second_exchange_on_the_same_port_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    port = exchange().server.port
    with pytest.raises(ConfigError, match="cannot listen on"):
        exchange(address=f"127.0.0.1:{port}", storage=tmp_path / "other")
