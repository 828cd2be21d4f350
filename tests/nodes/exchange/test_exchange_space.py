from __future__ import annotations

import pytest

from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.space import Space, SpaceLimits
from nodes.exchange.store import PartialFile

PLENTY = 1 << 40


class Books:
    """A space, its clock, and what it has deleted."""

    def __init__(self, stored: list[tuple[int, str]] = [], partials: list[PartialFile] = [], **limits: float):  # noqa: B006
        self.now, self.deleted = 0.0, []
        given = {"quota": 100, "capacity": 1000, "partial_bytes": 200, "partial_files": 3, "reserve": 0}
        self.space = Space(
            SpaceLimits(**given | limits),  # type: ignore[arg-type]
            stored,
            partials,
            lambda node, digest: self.deleted.append((node, digest)),
            lambda: self.now,
        )

    def leave(self, node: str, digest: bytes, size: int) -> None:
        """An upload of ``size`` bytes that breaks off."""
        self.now += 1
        self.space.claim((node, digest), size, None, PLENTY)
        self.space.grew((node, digest), size)
        self.space.release((node, digest))

    def refusal(
        self, key: tuple[str, bytes], size: int, quota: int | None = None, free: int = PLENTY
    ) -> Reason:
        with pytest.raises(RefusedError) as refused:
            self.space.claim(key, size, quota, free)
        return refused.value.reason


def test_a_quota_counts_what_is_published_and_what_is_on_its_way() -> None:
    books = Books(stored=[(40, "a"), (90, "b")])
    books.space.claim(("a", b"1"), 50, None, PLENTY)
    assert books.refusal(("a", b"2"), 20) is Reason.QUOTA
    books.space.claim(("a", b"2"), 20, 200, PLENTY)  # by the access list
    books.space.published(("a", b"1"), 50)
    books.space.release(("a", b"2"))
    assert books.refusal(("a", b"3"), 11) is Reason.QUOTA
    books.space.removed("a", 40)
    books.space.claim(("a", b"3"), 11, None, PLENTY)


def test_ones_own_leftovers_make_way() -> None:
    books = Books()
    books.leave("a", b"1", 60)
    books.space.claim(("a", b"2"), 70, None, PLENTY)
    assert books.deleted == [("a", b"1")]


def test_a_resumed_upload_is_not_counted_twice() -> None:
    books = Books()
    books.leave("a", b"1", 60)
    books.space.claim(("a", b"1"), 100, None, PLENTY)
    assert books.deleted == [] and books.space.arrived(("a", b"1")) == 60 and books.space.partial_bytes == 100


def test_only_so_many_leftovers_are_kept() -> None:
    books = Books()
    for digest in (b"1", b"2", b"3", b"4"):
        books.leave("a", digest, 1)
    assert books.deleted == [("a", b"1")]


def test_the_oldest_leftovers_of_all_make_way() -> None:
    books = Books()
    for node in ("a", "b"):
        books.leave(node, b"1", 90)
    books.space.claim(("c", b"1"), 90, None, PLENTY)
    assert books.deleted == [("a", b"1")]


def test_uploads_that_go_on_do_not_make_way() -> None:
    books = Books()
    for node in ("a", "b"):
        books.space.claim((node, b"1"), 90, None, PLENTY)
    assert books.refusal(("c", b"1"), 90) is Reason.BUSY
    books.space.release(("a", b"1"))
    books.space.claim(("c", b"1"), 90, None, PLENTY)


def test_who_never_sends_leaves_nothing() -> None:
    books = Books()
    books.space.claim(("a", b"1"), 90, None, PLENTY)
    books.space.release(("a", b"1"))
    assert books.space.partial_bytes == 0


def test_the_disk_is_not_filled_to_the_brim() -> None:
    books = Books(reserve=50)
    assert books.refusal(("a", b"1"), 60, free=100) is Reason.DISK_FULL
    books.space.claim(("a", b"1"), 30, None, 100)
    assert books.refusal(("b", b"2"), 30, free=100) is Reason.DISK_FULL  # 30 of which are spoken for
    books.space.grew(("a", b"1"), 30)
    books.space.claim(("b", b"2"), 20, None, 70)
    assert Books(capacity=50).refusal(("a", b"1"), 60) is Reason.DISK_FULL


def test_leftovers_grow_old() -> None:
    books = Books(partials=[PartialFile("a", b"1", 5, touched=0.0)], partial_seconds=10)
    books.now = 9.0
    assert books.space.forget_old() == 0 and books.space.arrived(("a", b"1")) == 5
    books.now = 11.0
    assert books.space.forget_old() == 1 and books.deleted == [("a", b"1")]


def test_a_dropped_upload_may_start_anew_under_its_claim() -> None:
    books = Books()
    books.leave("a", b"1", 60)
    books.space.claim(("a", b"1"), 50, None, PLENTY)
    books.space.drop(("a", b"1"))
    assert books.space.arrived(("a", b"1")) == 0
    books.space.grew(("a", b"1"), 50)
    books.space.published(("a", b"1"), 50)
    assert (books.space.stored_sets, books.space.stored_bytes, books.space.partial_bytes) == (1, 50, 0)
