"""Durability of the store: whatever the instant of a crash, and whatever the order of what came before."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbits.errors import ConfigError, FedbitsError
from fedbits.wire import exchange_pb2 as pb
from nodes.exchange import store as store_module
from nodes.exchange.index import Index
from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.store import Candidate, Retention, Store


def upload(store: Store, content: bytes, node: str = "alpha", **fields: object) -> Candidate:
    """An upload that is whole and was examined."""
    digest = hashlib.sha256(content).digest()
    path = store.partial(node, digest)
    path.write_bytes(content)
    return Candidate(pb.Entry(sha256=digest, size=len(content), node=node, **fields), path)  # type: ignore[arg-type]


def publish(store: Store, content: bytes, node: str = "alpha", **fields: object) -> pb.Entry:
    outcome = store.commit([upload(store, content, node, **fields)])[0]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def listed(store: Store, **asked: object) -> list[int]:
    return [entry.sequence for entry in store.index.page(pb.ListRequest(**asked))[0]]  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "storage")
    yield opened
    opened.close()


def test_a_batch_is_stored_in_its_order(store: Store) -> None:
    outcomes = store.commit([upload(store, content) for content in (b"one", b"two", b"three")])
    assert [entry.sequence for entry in outcomes if isinstance(entry, pb.Entry)] == [1, 2, 3]
    assert store.blob(hashlib.sha256(b"two").digest()).read_bytes() == b"two"
    assert list(store.partials.iterdir()) == []


def test_one_of_a_batch_is_enough_of_a_blob(store: Store) -> None:
    first, second = store.commit([upload(store, b"one", "alpha"), upload(store, b"one", "beta")])
    assert isinstance(first, pb.Entry) and first.node == "alpha"
    assert isinstance(second, RefusedError) and second.reason is Reason.REPLAY


def test_a_failed_commit_stores_nothing(store: Store) -> None:
    candidate = upload(store, b"one")
    with (
        mock.patch.object(
            store.index, "add", side_effect=sqlite3.OperationalError("database or disk is full")
        ),
        pytest.raises(sqlite3.OperationalError),
    ):
        store.commit([candidate])
    assert listed(store) == [] and list(store.blobs.iterdir()) == []
    assert publish(store, b"one").sequence == 1


def test_lists_are_filtered(store: Store) -> None:
    publish(store, b"1", "alpha", data_set="digits", recipe="quadd")
    publish(store, b"2", "beta", data_set="digits", recipe="ptq")
    publish(store, b"3", "beta", data_set="mnist", recipe="quadd")
    assert listed(store, node="beta") == [2, 3]
    assert listed(store, data_set="digits", after=1) == [2]
    assert listed(store, recipe="quadd") == [1, 3]
    assert listed(store, digest_prefix=hashlib.sha256(b"3").hexdigest()[:9]) == [3]


def test_pages_end_and_go_on(store: Store) -> None:
    store.index.add([pb.Entry(sha256=number.to_bytes(32), size=1, node="alpha") for number in range(1003)])
    first, more = store.index.page(pb.ListRequest())
    assert len(first) == 1000 and more
    second, more = store.index.page(pb.ListRequest(after=first[-1].sequence))
    assert [entry.sequence for entry in second] == [1001, 1002, 1003] and not more


def test_what_is_removed_is_remembered_for_others(store: Store) -> None:
    for content in (b"1", b"2", b"3"):
        publish(store, content)
    publish(store, b"4", "beta")
    assert [digest for digest, _, _ in store.expire(Retention(newest=1))] == [
        hashlib.sha256(content).digest() for content in (b"1", b"2")
    ]
    assert listed(store) == [3, 4] and not store.blob(hashlib.sha256(b"1").digest()).exists()
    with pytest.raises(RefusedError) as refused:
        publish(store, b"1", "beta")
    assert refused.value.reason is Reason.REPLAY
    assert publish(store, b"1", "alpha").sequence == 5  # its own node may, under a new number


def test_sets_grow_old(store: Store) -> None:
    publish(store, b"1")
    assert store.expire(Retention(seconds=3600)) == []
    assert len(store.expire(Retention(seconds=-1))) == 1
    assert listed(store) == [] and store.index.last() == 1


def test_only_so_many_removed_sets_are_remembered(store: Store) -> None:
    digests = [publish(store, content).sha256 for content in (b"1", b"2", b"3")]
    store.index.remove(digests, 1, remembered=2)
    assert [store.index.find(digest) is not None for digest in digests] == [False, True, True]


def test_numbers_are_never_used_twice(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = publish(store, b"1").sha256
    store.index.remove([digest], 1, remembered=0)
    store.close()
    store = Store(tmp_path)
    assert publish(store, b"2").sequence == 2
    store.close()


def test_a_start_follows_the_index(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept, cut, gone = (publish(store, content).sha256 for content in (b"kept", b"cut", b"gone"))
    store.blob(cut).write_bytes(b"c")
    store.blob(gone).unlink()
    (store.blobs / ("ab" * 32)).write_bytes(b"never acknowledged")
    (store.partials / "rubbish").write_bytes(b"")
    upload(store, b"half")
    store.close()
    store = Store(tmp_path)
    assert listed(store) == [1] and store.blob(kept).read_bytes() == b"kept"
    assert store.recovery.deleted == ["ab" * 32] and sorted(store.recovery.lost) == sorted(
        [cut.hex(), gone.hex()]
    )
    assert [(found.node, found.size) for found in store.partial_files()] == [("alpha", 4)]
    store.close()


def test_two_cannot_use_one_folder(store: Store) -> None:
    with pytest.raises(ConfigError, match="another exchange is using"):
        Store(store.folder)


def test_an_index_that_is_missing_costs_no_blobs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = publish(store, b"1").sha256
    store.close()
    (tmp_path / "index.sqlite").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is missing"):
        Store(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "index.sqlite")
    store = Store(tmp_path)
    assert store.find(digest).sequence == 1
    store.close()


def test_an_index_of_a_later_fedbits_is_refused(tmp_path: Path) -> None:
    Index(tmp_path / "index").close()
    with sqlite3.connect(tmp_path / "index") as rows:
        rows.execute("PRAGMA user_version = 2")
    with pytest.raises(FedbitsError, match="later fedbits"):
        Index(tmp_path / "index")
    (tmp_path / "other").write_bytes(b"no database" * 1000)
    with pytest.raises(FedbitsError, match="not the index"):
        Index(tmp_path / "other")


# --------------------------------------------------------------------------------------------------- crashes


class Crash(BaseException):
    """The process ends here."""


@contextmanager
def crashing(after: int) -> Iterator[None]:
    """End at the ``after``-th of the steps that a store takes on disk, before or after it."""
    left = after

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise Crash

    def ending(step: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            tick()
            result = step(*args, **kwargs)
            tick()
            return result

        return wrapped

    with (
        mock.patch.object(store_module, "_synchronise", ending(store_module._synchronise)),
        mock.patch.object(Path, "replace", ending(Path.replace)),
        mock.patch.object(Path, "unlink", ending(Path.unlink)),
        mock.patch.object(Index, "add", ending(Index.add)),
        mock.patch.object(Index, "remove", ending(Index.remove)),
    ):
        yield


STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["alpha", "beta"]), st.integers(0, 5)), min_size=1, max_size=3),
        st.booleans(),  # whether retention comes after it
        st.one_of(st.none(), st.integers(0, 14)),
    ),
    max_size=5,
)


@given(STEPS)
@settings(max_examples=40)
def test_nothing_acknowledged_is_lost_and_nothing_half_written_is_listed(
    steps: list[tuple[list[tuple[str, int]], bool, int | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        acknowledged: dict[bytes, bytes] = {}
        store = Store(Path(folder))
        for uploads, expire, crash in steps:
            batch, contents = [], []
            for node, number in uploads:
                content = bytes([number]) * (number + 1)
                if all(content != other for other in contents):
                    batch.append(upload(store, content, node))
                    contents.append(content)
            try:
                with crashing(1 << 30 if crash is None else crash):
                    outcomes = store.commit(batch)
                    for outcome, content in zip(outcomes, contents, strict=True):
                        if isinstance(outcome, pb.Entry):
                            acknowledged[outcome.sha256] = content
                    if expire:
                        for digest in _outdated(store):
                            acknowledged.pop(digest, None)
                        store.expire(Retention(newest=2))
            except Crash:
                store.close()  # as the system would: nothing is committed by it
                store = Store(Path(folder))
            _check(store, acknowledged)
        store.close()


def _outdated(store: Store) -> list[bytes]:
    """What retention may remove from here on, whether or not it gets to it."""
    return [digest for digest, _, _ in store.index.outdated(None, 2)]


def _check(store: Store, acknowledged: dict[bytes, bytes]) -> None:
    there = {digest: size for digest, size, _ in store.index.there()}
    assert acknowledged.keys() <= there.keys()
    for digest, size in there.items():
        content = store.blob(digest).read_bytes()
        assert len(content) == size and hashlib.sha256(content).digest() == digest
    assert {os.fsdecode(path.name) for path in store.blobs.iterdir()} == {digest.hex() for digest in there}
