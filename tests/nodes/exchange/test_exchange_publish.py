"""What is published, what is not, and what is left of either."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from exchanges import Running, announce, chunk, raw_calls
from grpc import aio
from hostile import STARVED, TOO_MUCH, changed
from making import message_of, packed

from fedbits.errors import ConfigError, MismatchError
from fedbits.wire import exchange_pb2 as pb
from nodes.exchange import rpc
from nodes.exchange.client import ExchangeClient
from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.settings import Traffic
from nodes.exchange.space import SpaceLimits

Exchange = Callable[..., Running]


def sha256(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()


def test_what_is_published_can_be_fetched(exchange: Exchange, blobs: list[bytes], tmp_path: Path) -> None:
    running = exchange()
    entry = running.publish(blobs[0], node="alpha")
    assert (entry.sequence, entry.sha256, entry.size, entry.node) == (
        1,
        sha256(blobs[0]),
        len(blobs[0]),
        "alpha",
    )
    assert (entry.data_set, list(entry.shape), list(entry.class_counts)) == ("made", [1, 6, 6], [2, 2, 2])
    assert (entry.samples, entry.recipe, entry.storage, entry.bits) == (6, "random", "pixel", 3)
    path = tmp_path / "got"
    fetched = running.ask(lambda client: client.fetch(entry.sha256, path), node="beta")
    assert fetched == entry and path.read_bytes() == blobs[0] and list(path.parent.glob(".got*")) == []


def test_publishing_again_changes_nothing(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    assert running.publish(blobs[0]) == running.publish(blobs[0])
    assert len(running.sets()) == 1


def test_parents_are_kept(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    parents = [sha256(b"mother"), sha256(b"father")]
    running.ask(lambda client: client.publish(blobs[0], parents))
    assert list(running.sets()[0].parents) == parents


def test_another_node_cannot_publish_the_same_blob(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    running.publish(blobs[0], node="alpha")
    with pytest.raises(RefusedError) as refused:
        running.publish(blobs[0], node="beta")
    assert refused.value.reason is Reason.REPLAY
    assert [entry.node for entry in running.sets()] == ["alpha"]


def test_large_blobs_travel_in_chunks(exchange: Exchange, large: bytes, tmp_path: Path) -> None:
    running = exchange()
    entry = running.publish(large)
    running.ask(lambda client: client.fetch(entry.sha256, tmp_path / "got"))
    assert len(large) > 2 * rpc.CHUNK and (tmp_path / "got").read_bytes() == large


@pytest.fixture(scope="session")
def large() -> bytes:
    """A set of half a megabyte: random float32 samples."""
    from making import make_data
    from storing import as_floats

    from fedbits.container import encode

    return encode(as_floats(make_data((1, 64, 64), [40], dtype="float32"), 40))


def test_a_broken_upload_goes_on_where_it_ended(exchange: Exchange, large: bytes) -> None:
    running = exchange()
    assert running.refused([announce(large), chunk(large[:1000])]) == ("incomplete", "ABORTED")
    assert [path.stat().st_size for path in running.partials()] == [1000]

    async def offset() -> int:
        async with raw_calls(running.address) as calls:
            call = calls["Publish"](metadata=((rpc.PROTOCOL_KEY, "1"), (rpc.NODE_KEY, "alpha")))
            await call.write(announce(large))
            return (await call.read()).offset

    assert running.loop(offset()) == 1000
    running.publish(large)
    assert running.partials() == []


def test_an_upload_of_another_node_is_not_gone_on_with(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    wrong = bytes(10)
    running.refused([announce(blobs[0]), chunk(wrong)], node="mallory")
    assert running.publish(blobs[0], node="alpha").sequence == 1


def test_a_spoilt_beginning_is_forgotten(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    running.refused([announce(blobs[0]), chunk(bytes(10))])
    assert running.publish(blobs[0]).sequence == 1


def test_bits_that_fall_over_on_the_server_side_are_found(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange()
    altered = bytes([blobs[0][0] ^ 1]) + blobs[0][1:]
    assert running.refused([announce(blobs[0]), chunk(altered)])[0] == "wrong_digest"
    assert running.partials() == [] and running.sets() == []


def changed_names(blob: bytes) -> bytes:
    message = message_of(blob)
    message.recipe_name = "evil\x1b[2J"
    return packed(message)


def garbage(blob: bytes) -> dict[str, bytes]:
    bombs = {f"bomb: {name}": changed(change) for name, change in TOO_MUCH.items()}
    starved = {f"starved: {name}": changed(change) for name, change in STARVED.items()}
    return (
        bombs
        | starved
        | {
            "noise": bytes(range(256)),
            "truncated": blob[:-1],
            "changed": blob[:-1] + bytes([blob[-1] ^ 1]),
            "unprintable": changed_names(blob),
        }
    )


def test_garbage_is_refused_and_leaves_nothing(exchange: Exchange, blobs: list[bytes]) -> None:
    running, found = exchange(), {}
    for name, bad in garbage(blobs[0]).items():
        with pytest.raises(RefusedError) as refused:
            running.publish(bad)
        found[name] = refused.value.reason
    assert {found.pop(name) for name in list(found) if name.startswith("bomb")} == {Reason.LIMITS}
    assert {found.pop(name) for name in list(found) if name.startswith("starved")} <= {
        Reason.CORRUPT,
        Reason.LIMITS,
    }
    assert found == {
        "noise": Reason.NOT_A_BLOB,
        "truncated": Reason.CORRUPT,
        "changed": Reason.CORRUPT,
        "unprintable": Reason.UNFIT_NAME,
    }
    assert (
        running.partials() == [] and running.sets() == [] and list((running.folder / "blobs").iterdir()) == []
    )


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([chunk(b"x")], "bad_request"),
        ([], "bad_request"),
        ([pb.PublishRequest()], "bad_request"),
        ([announce(b"x", sha256=b"short")], "bad_request"),
        ([announce(b"")], "bad_request"),
        ([announce(b"x", parents=[b"short"])], "bad_request"),
        ([announce(b"x", parents=[bytes(32)] * 65)], "bad_request"),
        ([announce(b"x", size=1 << 40)], "too_large"),
        ([announce(b"xyz"), chunk(b"wxyz")], "overrun"),
        ([announce(b"xyz"), chunk(b"")], "bad_request"),
        ([announce(b"xyz"), announce(b"xyz")], "bad_request"),
        ([announce(b"xyz")], "incomplete"),
    ],
)
def test_uploads_out_of_form_are_refused(
    exchange: Exchange, requests: list[pb.PublishRequest], reason: str
) -> None:
    running = exchange()
    assert running.refused(requests)[0] == reason
    assert running.sets() == [] and running.partials() == []


def test_a_client_sees_by_itself_what_is_too_large(exchange: Exchange, blobs: list[bytes]) -> None:
    with pytest.raises(ConfigError, match="takes at most 50"):
        exchange(blob_bytes=50).publish(blobs[0])


def test_who_announces_and_never_sends_costs_nothing(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange(traffic=Traffic(idle=0.2, uploads=1))
    assert running.refused([announce(blobs[0])], wait=True) == ("idle", "DEADLINE_EXCEEDED")
    assert running.refused([], wait=True)[0] == "idle"
    assert running.partials() == []
    assert running.publish(blobs[0], node="beta").sequence == 1  # the one place for uploads is free again


def test_a_later_upload_takes_over(exchange: Exchange, blobs: list[bytes]) -> None:
    running, blob = exchange(), blobs[0]

    async def both() -> tuple[str, pb.Entry]:
        metadata = ((rpc.PROTOCOL_KEY, "1"), (rpc.NODE_KEY, "alpha"))
        async with raw_calls(running.address) as calls:
            stuck = calls["Publish"](metadata=metadata)
            await stuck.write(announce(blob))
            await stuck.read()
            await stuck.write(chunk(blob[:20]))
            while not running.partials():
                await asyncio.sleep(0.01)
            async with ExchangeClient(running.target()) as client:
                entry = await client.publish(blob)
            return dict(await stuck.trailing_metadata())[rpc.REASON_KEY], entry

    reason, entry = running.loop(both())
    assert reason == "superseded" and entry.sequence == 1


def test_a_quota_is_kept(exchange: Exchange, blobs: list[bytes]) -> None:
    quota = len(blobs[0]) + len(blobs[1])
    running = exchange(space=SpaceLimits(quota=quota, reserve=0))
    for blob in blobs[:2]:
        running.publish(blob)
    with pytest.raises(RefusedError, match=f"0 left of its {quota}") as refused:
        running.publish(blobs[2])
    assert refused.value.reason is Reason.QUOTA
    assert running.publish(blobs[2], node="beta").sequence == 3


def test_a_full_disk_is_said(exchange: Exchange, blobs: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    running = exchange()
    monkeypatch.setattr("os.pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RefusedError) as refused:
        running.publish(blobs[0])
    assert refused.value.reason is Reason.DISK_FULL
    monkeypatch.undo()
    assert running.publish(blobs[0]).sequence == 1


def test_who_drips_is_cut_but_loses_nothing(exchange: Exchange, blobs: list[bytes]) -> None:
    running, blob = exchange(traffic=Traffic(idle=0.3, least_rate=1 << 30)), blobs[0]

    async def drip() -> None:
        async with raw_calls(running.address) as calls:
            call = calls["Publish"](metadata=((rpc.PROTOCOL_KEY, "1"), (rpc.NODE_KEY, "alpha")))
            await call.write(announce(blob))
            for offset in range(len(blob)):
                try:
                    await call.write(chunk(blob[offset : offset + 1]))
                except (aio.AioRpcError, asyncio.InvalidStateError):
                    break
                await asyncio.sleep(0.05)

    running.loop(drip())
    metrics, refused = running.server.metrics.registry, {"method": "Publish", "reason": "idle"}
    assert metrics.get_sample_value("fedbits_exchange_refusals_total", refused) == 1
    assert 0 < running.partials()[0].stat().st_size < len(blob)
    assert running.publish(blob).sequence == 1


def test_later_formats_are_for_later_exchanges(exchange: Exchange, blobs: list[bytes]) -> None:
    running, later = exchange(), packed(message_of(blobs[0]), version=9)
    with pytest.raises(MismatchError, match="format version 9, and the exchange"):
        running.publish(later)
    assert running.refused([announce(later), chunk(later)])[0] == "format_version"


@pytest.mark.parametrize("protocol", ["0", "2", "one"])
def test_other_protocols_are_refused(exchange: Exchange, blobs: list[bytes], protocol: str) -> None:
    reason, status = exchange().refused([announce(blobs[0])], protocol=protocol)
    assert (reason, status) == ("protocol", "FAILED_PRECONDITION")


def test_a_name_that_is_none_is_refused(exchange: Exchange, blobs: list[bytes]) -> None:
    assert exchange().refused([announce(blobs[0])], node="../x")[0] == "unidentified"


def test_many_publish_at_once(exchange: Exchange, blobs: list[bytes]) -> None:
    running = exchange(traffic=Traffic(uploads=2))

    async def one(number: int) -> int:
        async with ExchangeClient(running.target(f"node-{number}")) as client:
            return (await client.publish(blobs[number])).sequence

    async def everybody() -> list[int]:
        return await asyncio.gather(*(one(number) for number in range(len(blobs))))

    assert sorted(running.loop(everybody())) == [1, 2, 3, 4, 5, 6]
    metrics = running.server.metrics.registry
    assert metrics.get_sample_value("fedbits_exchange_published_sets_total") == 6
    assert metrics.get_sample_value("fedbits_exchange_stored_sets") == 6
    assert metrics.get_sample_value("fedbits_exchange_received_bytes_total") == sum(map(len, blobs))
