"""The wire format under bytes that no encoder writes: one kind of error, whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
from golden import reader
from hostile import BLOB, CORRUPT, HEADER, changed, inspects_or_refuses
from hypothesis import example, given, settings
from hypothesis import strategies as st
from making import message_of, packed

from fedbits.container import DecodeLimits, decode, inspect, ledger
from fedbits.errors import CorruptError, FormatError, NotABlobError, TruncatedError, VersionError


def test_every_truncation() -> None:
    for length in range(len(BLOB)):
        with pytest.raises(TruncatedError if length else NotABlobError):
            decode(BLOB[:length])


def test_every_flipped_byte() -> None:
    for position in range(len(BLOB)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(BLOB)
            damaged[position] ^= mask
            for read in (decode, inspect, ledger):
                with pytest.raises(FormatError) as caught:
                    read(bytes(damaged))
                assert type(caught.value) in _expected(position)
                assert "\n" not in str(caught.value)


def _expected(position: int) -> tuple[type[FormatError], ...]:
    if position < 4:
        return (NotABlobError,)
    if position == 4:
        return (VersionError,)
    if 6 <= position < 10:  # the length: too long, or too short for the bytes that follow
        return TruncatedError, CorruptError
    return (CorruptError,)


def test_bytes_after_the_end() -> None:
    with pytest.raises(CorruptError):
        decode(BLOB + b"\0")


@pytest.mark.parametrize("blob", [b"", b"\0", b"F", b"PK\3\4" * 9, b"FBIX" + BLOB[4:]])
def test_other_files(blob: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        decode(blob)
    assert isinstance(caught.value, TruncatedError if blob == b"F" else NotABlobError)


def test_flags_and_versions_to_come() -> None:
    with pytest.raises(VersionError, match="format version 2"):
        decode(packed(BLOB[HEADER:], version=2))
    with pytest.raises(CorruptError):
        decode(packed(BLOB[HEADER:], flags=1))
    assert packed(BLOB[HEADER:]) == BLOB


@pytest.mark.parametrize("what", CORRUPT)
def test_messages_that_no_encoder_writes(what: str) -> None:
    classes = [0] if "huge" in what else None
    with pytest.raises(CorruptError) as caught:
        decode(changed(CORRUPT[what]), classes=classes)
    assert "\n" not in str(caught.value)
    inspects_or_refuses(changed(CORRUPT[what]))


def test_a_stream_of_no_bytes_or_of_wrong_ones() -> None:
    for stream in (b"", b"\xff" * 8, b"\xff" * 400):
        try:
            received = decode(changed(lambda m, stream=stream: setattr(m, "stream", stream)))
        except CorruptError:
            continue
        assert bool(received.samples.isfinite().all())


def test_a_bare_header_holds_nothing() -> None:
    with pytest.raises(CorruptError):
        decode(packed(b""))
    with pytest.raises(CorruptError, match="not of the declared format"):
        decode(packed(b"\xff" * 20))
    with pytest.raises(CorruptError):
        decode(changed(lambda m: m.ClearField("recipe_number") or m.task_described.Clear()))


def test_of_two_parameterisations_the_later_one_counts() -> None:
    """And what the earlier one said is gone, even where the first comes again."""
    body, floats = BLOB[HEADER:], b"\x4a\x00"
    grid = message_of(BLOB).pixel.SerializeToString()
    pixel = b"\x22" + bytes([len(grid)]) + grid
    for read in (lambda blob: decode(blob).samples.numpy(), lambda blob: reader.read(blob).samples):
        assert np.array_equal(read(packed(body + floats + pixel)), read(BLOB))
        with pytest.raises((FormatError, ValueError)):
            read(packed(body + floats + pixel[:1] + b"\x02\x08\x03"))  # bits, and no grid any more
        zeros = read(packed(body + floats + b"\x2a\x00"))  # of a stream of no bytes
        assert zeros.shape == (5, 2, 3, 4) and not zeros.any()
    assert inspect(packed(body + floats))["storage"] == "floats"


def test_unknown_recipes_are_no_obstacle() -> None:
    assert decode(changed(lambda m: setattr(m, "recipe_number", 999))).recipe == "recipe 999"
    assert decode(changed(lambda m: m.ClearField("recipe_number"))).recipe == ""


@settings(max_examples=300)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.integers(0, 255)), min_size=1, max_size=6
    )
)
@example(edits=[(0, 1, 0)])
def test_mutated_messages(edits: list[tuple[int, int, int]]) -> None:
    """Bytes of the message changed, inserted and removed under a valid checksum."""
    body = bytearray(BLOB[HEADER:])
    for position, kind, value in edits:
        at = position % max(1, len(body))
        body[at : at + (kind != 1)] = b"" if kind == 2 else bytes([value])
    blob = packed(bytes(body))
    inspects_or_refuses(blob)
    try:
        received = decode(blob, DecodeLimits(elements=1 << 18, work=1 << 22))
    except FormatError as error:
        assert "\n" not in str(error)
    else:
        assert len(received.samples) == sum(received.class_counts())
        assert bool(received.samples.isfinite().all())


@settings(max_examples=200)
@given(body=st.binary(max_size=200))
def test_random_messages(body: bytes) -> None:
    with pytest.raises(FormatError):
        decode(packed(body))
    with pytest.raises(FormatError):
        decode(body)
