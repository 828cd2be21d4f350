from __future__ import annotations

from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from nodes.codes import Code
from nodes.continual.sync import (
    MAX_BLOBS,
    Update,
    digest,
    read_known,
    read_update,
    update_records,
    with_known,
)
from nodes.messages import Facts, RefusedError, blob_array

OLD, NEW = b"an old blob", b"a new one"


def records(update: Update | None = None) -> RecordDict:
    return update_records(Facts(), update or Update.of([OLD, NEW], frozenset({digest(OLD)}), 1))


def code_of(broken: RecordDict) -> Code:
    with pytest.raises(RefusedError) as refused:
        read_update(broken)
    return refused.value.code


def test_only_what_the_server_lacks_is_sent() -> None:
    update = Update.of([OLD, NEW], frozenset({digest(OLD), digest(b"gone")}), 1)
    assert update.digests == (digest(OLD), digest(NEW))
    assert update.blobs == {digest(NEW): NEW}
    assert update.blob_bytes == len(NEW) and update.bytes == len(NEW) + 2 * 32
    assert read_update(records(update)) == update


def test_an_empty_memory_is_an_update_too() -> None:
    assert read_update(records(Update.of([], frozenset(), 0))) == Update((), {}, 0)


def test_what_the_server_has_is_read_as_written() -> None:
    assert read_known(with_known(RecordDict(), [digest(OLD)])) == {digest(OLD)}
    assert read_known(with_known(RecordDict(), [])) == frozenset()
    with pytest.raises(RefusedError) as refused:
        read_known(RecordDict())
    assert refused.value.code is Code.BAD_TASK


@pytest.mark.parametrize(
    "digests",
    [
        [b"short"],
        [digest(OLD), digest(OLD)],
        ["text" * 8],
        [n.to_bytes(32, "big") for n in range(MAX_BLOBS + 1)],
        7,
    ],
)
def test_names_that_are_none_are_refused(digests: Any) -> None:
    broken = records()
    broken["fedbits.memory"] = ConfigRecord({"digests": digests, "shrunk": 0})
    assert code_of(broken) is Code.MISSING


def test_a_blob_must_be_what_its_name_says() -> None:
    broken = records()
    broken["fedbits.blobs"] = ArrayRecord({digest(NEW).hex(): blob_array(b"another")})
    assert code_of(broken) is Code.CORRUPT


def test_a_blob_that_is_not_in_the_memory_is_refused() -> None:
    broken = records()
    broken["fedbits.blobs"] = ArrayRecord({digest(b"more").hex(): blob_array(b"more")})
    assert code_of(broken) is Code.MISSING


@pytest.mark.parametrize("part", ["fedbits.memory", "fedbits.blobs"])
def test_a_reply_without_a_part_is_refused(part: str) -> None:
    broken = records()
    del broken[part]
    assert code_of(broken) is Code.MISSING
    broken[part] = ConfigRecord({"shrunk": -1})
    assert code_of(broken) is Code.MISSING
