"""Files of token labels: what is in them, and that those that no encoder writes are refused."""

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from token_teacher import SETTINGS, source, teacher

from fedbits.errors import CorruptError, DataError, FormatError, NotABlobError, TruncatedError, VersionError
from fedbits.labels.tokens.file import TokenLabels
from fedbits.labels.tokens.making import make
from fedbits.labels.tokens.records import CHUNK, END, HEADER, PART, framed
from fedbits.wire import token_labels_pb2 as pb

GOLDEN = Path(__file__).parents[2] / "golden" / "v1-tokens.ftl"
TARGETS = "66dadd3ed9cc426929d2363a792961a5026eec2de97a06adaece1364ecb626bd"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.ftl"
    make(path, teacher(), source(), SETTINGS)
    return path.read_bytes()


def bodies(whole):
    """Kinds and bodies of all records."""
    found, place = [], 6
    while place < len(whole):
        kind, length, _ = struct.unpack_from("<BII", whole, place)
        found.append((kind, whole[place + 9 : place + 9 + length]))
        place += 9 + length
    return found


def joined(records, start=b"FBTL\1\0"):
    return start + b"".join(framed(kind, body) for kind, body in records)


def opened(tmp_path, content):
    path = tmp_path / "labels.ftl"
    path.write_bytes(content)
    return TokenLabels(path)


def decoded(tmp_path, content):
    labels = opened(tmp_path, content)
    return [labels.targets(number) for number in range(len(labels))]


def test_records_are_as_documented(whole):
    records = bodies(whole)
    assert [kind for kind, _ in records] == [HEADER, PART, *[CHUNK] * 5, END]
    assert joined(records) == whole
    kind, length, checksum = struct.unpack_from("<BII", whole, 6)
    assert (kind, checksum) == (1, zlib.crc32(whole[6:11] + whole[15 : 15 + length]))
    count, first = struct.unpack_from("<II", records[2][1])
    assert (count, first) == (32, source().ids[0])


def test_golden_labels_decode_to_the_same_targets():
    labels = TokenLabels(GOLDEN)
    found = hashlib.sha256()
    for number in range(len(labels)):
        targets = labels.targets(number)
        for tensor in (targets.tokens, targets.ids, targets.probabilities, targets.rest):
            found.update(tensor.contiguous().numpy().tobytes())
    found.update(labels.header.tail.weights.tobytes())
    assert found.hexdigest() == TARGETS


@pytest.mark.parametrize(
    ("content", "error", "expected"),
    [
        (b"", NotABlobError, "does not start"),
        (b"FBIT\1\0", NotABlobError, "does not start"),
        (b"FBTL\2\0", VersionError, "version 2"),
        (b"FBTL\0\0", CorruptError, "version 0"),
        (b"FBTL\1\1", CorruptError, "flags 1"),
        (b"FBTL\1\0", TruncatedError, "no header"),
        (b"FBTL\1\0" + bytes(9), CorruptError, "kind 0"),
        (b"FBTL\1\0" + struct.pack("<BII", 1, 2**32 - 1, 0), CorruptError, "4,294,967,295 bytes"),
    ],
)
def test_other_starts_are_refused(tmp_path, content, error, expected):
    with pytest.raises(error, match=expected):
        opened(tmp_path, content)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        TokenLabels(tmp_path / "none.ftl")


ORDERS = {
    "a part before the header": [1, 0],
    "two headers": [0, 0],
    "a chunk without a text": [0, 2],
    "a text that lacks chunks, and another": [0, 1, 2, 1],
    "an end that comes too early": [0, 1, 2, 7],
    "a chunk too many": [0, 1, 2, 3, 4, 5, 6, 2],
    "a short chunk before others": [0, 1, 6],
    "something after the end": [0, 1, 2, 3, 4, 5, 6, 7, 1],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_records_out_of_place_are_refused(tmp_path, whole, order):
    records = bodies(whole)
    with pytest.raises(CorruptError):
        opened(tmp_path, joined([records[place] for place in order]))


def test_bytes_after_the_end_are_refused(tmp_path, whole):
    with pytest.raises(CorruptError, match="goes on after its end"):
        opened(tmp_path, whole + b"\1")


def test_an_end_of_other_numbers_is_refused(tmp_path, whole):
    records = bodies(whole)
    records[-1] = END, pb.TokenEnd(labels=149, chunks=4).SerializeToString()
    with pytest.raises(CorruptError, match="in 4 chunks, but have 149 in 5"):
        opened(tmp_path, joined(records))


HEADERS = {
    "no tokens": {"vocabulary": 0},
    "one token": {"vocabulary": 1},
    "tokens without end": {"vocabulary": 2**32 - 1},
    "no top": {"top": 0},
    "all tokens on top": {"top": 40},
    "a vast top": {"top": 65},
    "no window": {"window": 0},
    "a vast window": {"window": 2**32 - 1},
    "no windows": {"chunk_windows": 0},
    "a vast chunk": {"chunk_windows": 2**14},
    "more windows than a batch has": {"window": 1, "chunk_windows": 2**14 + 1},
    "a short digest": {"teacher_digest": b"1"},
    "a codec that labels of views have": {"codec": 3},
    "no codec": {"codec": 99},
    "a vast codec": {"width": 2**14, "segment": 2**14, "levels": 4096},
    "a segment that does not divide": {"segment": 3},
    "a tail of ones": {"tail": b"\xff" * 400},
    "a far tail": {"tail_centre": 2**31},
    "a tail that begins too low": {"tail_centre": 31},
    "another vocabulary than the tail's": {"vocabulary": 2**20, "tail": b""},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS)
def test_headers_that_no_encoder_writes_are_refused(tmp_path, whole, changes):
    records = bodies(whole)
    message = pb.TokenLabels.FromString(records[0][1])
    for name, value in changes.items():
        setattr(message, name, value)
    records[0] = HEADER, message.SerializeToString()
    with pytest.raises(FormatError):
        decoded(tmp_path, joined(records))


@pytest.mark.parametrize("kind", [HEADER, PART, END])
def test_messages_that_are_none_are_refused(tmp_path, whole, kind):
    records = [(which, b"\xff\xff\xff" if which == kind else body) for which, body in bodies(whole)]
    with pytest.raises(CorruptError):
        opened(tmp_path, joined(records))


@pytest.mark.parametrize("place", range(0, 6000, 61))
def test_a_flipped_bit_is_noticed(tmp_path, whole, place):
    changed = bytearray(whole)
    changed[place % len(whole)] ^= 1 << place % 8
    with pytest.raises(FormatError):
        decoded(tmp_path, bytes(changed))


def with_chunk(whole, body):
    records = bodies(whole)
    records[2] = CHUNK, body
    return joined(records)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(7),
        struct.pack("<II", 0, 1),
        struct.pack("<II", 33, 1) + bytes(100),
        struct.pack("<II", 2**32 - 1, 1) + bytes(100),
        struct.pack("<II", 32, 40) + bytes(100),
    ],
)
def test_chunks_that_declare_what_is_not_are_refused(tmp_path, whole, body):
    with pytest.raises(CorruptError):
        decoded(tmp_path, with_chunk(whole, body))


def test_any_stream_gives_labels_or_is_refused(tmp_path, whole):
    generator = np.random.default_rng(0)
    for length in (0, 1, 40, 300):
        stream = generator.bytes(length)
        try:
            targets = decoded(tmp_path, with_chunk(whole, struct.pack("<II", 32, 1) + stream))[0]
        except CorruptError:
            continue
        assert (targets.ids.sort(1).values.diff(dim=1) > 0).all()
        assert targets.probabilities.min() > 0
        assert targets.tokens.max() < 40


def test_a_large_chunk_needs_bytes(whole, tmp_path):
    labels = opened(tmp_path, whole)
    form = labels.header.form
    large = type(form)(form.vocabulary, form.top, 1 << 14, 4)
    coding = type(labels.header.coding)(large, labels.header.coding.columns, labels.header.coding.code)
    assert coding.least_bytes(large.chunk) > 100
    with pytest.raises(CorruptError, match="more labels than its stream has bytes for"):
        coding.decode(bytes(100), 1, large.chunk)
