"""The wire format under bytes that no encoder writes: one kind of error, little time and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh import in_fresh_process
from golden import reader
from hypothesis import example, given, settings
from hypothesis import strategies as st
from making import by_coder, make_set, make_spec, message_of, packed, small_blob

from fedbits import container
from fedbits.coding import CODERS
from fedbits.container import DecodeLimits, decode, encode, inspect, ledger
from fedbits.data import TensorData
from fedbits.errors import (
    CorruptError,
    FormatError,
    LimitError,
    NotABlobError,
    TruncatedError,
    VersionError,
)
from fedbits.wire import distilled_set_pb2 as pb

BLOB = small_blob()
HEADER = 14


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


Change = Callable[[pb.DistilledSet], object]


def _with_grid(*values: float) -> Change:
    return lambda m: setattr(m.pixel, "grid", np.array(values, "<f2").tobytes())


def _shape(*sides: int) -> Change:
    def change(message: pb.DistilledSet) -> None:
        message.task_described.shape[:] = sides

    return change


def _counts(*counts: int) -> Change:
    def change(message: pb.DistilledSet) -> None:
        message.class_counts[:] = counts

    return change


def _normalisation(*values: float) -> Change:
    return lambda m: setattr(m.task_described, "normalisation", np.array(values, "<f2").tobytes())


def _short(scales: list[int], offsets: list[int]) -> Change:
    """Means and deviations in two bytes a channel."""

    def change(message: pb.DistilledSet) -> None:
        message.task_described.normalisation = b""
        message.task_described.scales = bytes(scales)
        message.task_described.offsets[:] = offsets

    return change


def _logits(*values: float) -> Change:
    return lambda m: setattr(m.soft_labels, "logits", np.array(values, "<f2").tobytes())


def _taught_many(message: pb.DistilledSet) -> None:
    """In streams of their own, of which only a small one is asked for: what is not read is not limited."""
    message.class_counts[:] = [1, 2**32 - 1, 2**32 - 1]
    message.class_lengths[:] = [4, 4]
    message.soft_labels.logits = bytes(30)


def _floats(stream: bytes) -> Change:
    def change(message: pb.DistilledSet) -> None:
        message.floats.SetInParent()
        message.stream = stream

    return change


def _banded(band: int, halves: int = 2) -> Change:
    """Coefficients, on a grid of two pairs for each of ``halves``."""

    def change(message: pb.DistilledSet) -> None:
        message.pixel.transform, message.pixel.band = 1, band
        message.pixel.grid = message.pixel.grid[: 4 * halves] * (2 if halves == 2 else 1)

    return change


def _many_coefficients(message: pb.DistilledSet) -> None:
    """Of samples that hardly cost more to read than they cost to invert."""
    message.task_described.shape[:] = (2, 256, 256)
    message.class_counts[:] = [2]
    message.pixel.coder = 1
    _banded(2)(message)


def _many_floats(message: pb.DistilledSet) -> None:
    message.floats.SetInParent()
    message.task_described.shape[:] = (2, 60, 60)
    message.class_counts[:] = [50]


def _lengths(*lengths: int) -> Change:
    return lambda m: m.class_lengths.extend(lengths)


def _classes(classes: int) -> Change:
    return lambda m: setattr(m.task_described, "classes", classes)


def _large_samples(*sides: int) -> Change:
    def change(message: pb.DistilledSet) -> None:
        message.task_described.shape[:] = sides
        message.class_counts[:] = [1 << 14]

    return change


def _many_small_samples_of_one_bit(message: pb.DistilledSet) -> None:
    message.task_described.shape[:] = (2, 3, 4)
    message.class_counts[:] = [900_000]
    message.pixel.bits = 1
    message.pixel.coder = 1


def _upsampled(message: pb.DistilledSet) -> None:
    """Samples of one pixel that are interpolated to 8×8 before they are cut."""
    message.task_described.shape[:] = (2, 1, 1)
    message.class_counts[:] = [1 << 18]
    message.pixel.factor_log2 = 3


def _many_classes_of_their_own(message: pb.DistilledSet) -> None:
    message.task_described.classes = 20_000
    message.class_counts[:] = [1]
    message.class_lengths[:] = [0] * 19_999
    message.task_described.shape[:] = (2, 1, 1)
    message.pixel.coder = 0


def _by_counts(change: Change) -> Change:
    """The change, in a blob of a coder that takes little work."""

    def changed(message: pb.DistilledSet) -> None:
        message.pixel.coder = 2
        change(message)

    return changed


CORRUPT: dict[str, Change] = {
    "no class": _classes(0),
    "more classes than counts": _classes(4),
    "2^32 - 1 classes": _classes(2**32 - 1),
    "no counts": _counts(),
    "zero counts": _counts(0, 0, 0),
    "a zero for all": _counts(0),
    "too many counts": _counts(1, 1, 1, 1),
    "no shape": _shape(),
    "two axes": _shape(2, 3),
    "four axes": _shape(2, 3, 4, 5),
    "a side of 0": _shape(2, 0, 4),
    "a side of 2^24": _shape(2, 1 << 24, 4),
    "a side of 2^32 - 1": _shape(2, 3, 2**32 - 1),
    "other channels": _shape(3, 3, 4),
    "flat": _shape(24),
    "no normalisation": _normalisation(),
    "a deviation of 0": _normalisation(0, 0, 1, 0),
    "a negative deviation": _normalisation(0, 0, 1, -1),
    "a mean that is no number": _normalisation(np.nan, 0, 1, 1),
    "an infinite deviation": _normalisation(0, 0, 1, np.inf),
    "half a number": lambda m: setattr(m.task_described, "normalisation", b"\0" * 7),
    "scales without offsets": _short([100, 100], []),
    "offsets without scales": _short([], [0, 0]),
    "a scale too few": _short([100], [0, 0]),
    "an offset too many": _short([100, 100], [0, 0, 0]),
    "a deviation below the least": _short([13, 100], [0, 0]),
    "a deviation beyond the largest": _short([100, 248], [0, 0]),
    "a mean beyond the largest": _short([100, 247], [0, 9]),
    "a mean far beyond": _short([247, 247], [2**31 - 1, -(2**31)]),
    "a length too few": _lengths(1),
    "a length too many": _lengths(1, 1, 1),
    "lengths beyond the stream": _lengths(1, 10_000),
    "lengths of 2^32 - 1": _lengths(2**32 - 1, 2**32 - 1),
    "an unknown data set": lambda m: setattr(m, "known_task", 0),
    "a far data set": lambda m: setattr(m, "known_task", 2**32 - 1),
    "no task": lambda m: m.ClearField("task_described"),
    "no parameterisation": lambda m: m.ClearField("pixel"),
    "an empty parameterisation": lambda m: m.pixel.Clear() or m.pixel.SetInParent(),
    "no bits": lambda m: setattr(m.pixel, "bits", 0),
    "9 bits": lambda m: setattr(m.pixel, "bits", 9),
    "2^32 - 1 bits": lambda m: setattr(m.pixel, "bits", 2**32 - 1),
    "factor 16": lambda m: setattr(m.pixel, "factor_log2", 4),
    "factor 2^(2^32 - 1)": lambda m: setattr(m.pixel, "factor_log2", 2**32 - 1),
    "an unknown coder": lambda m: setattr(m.pixel, "coder", max(CODERS) + 1),
    "a far coder": lambda m: setattr(m.pixel, "coder", 2**32 - 1),
    "no grid": _with_grid(),
    "three quarters of a grid": _with_grid(0, 1, 0),
    "one pair that is no number": _with_grid(0, np.nan),
    "one pair with a step of 0": _with_grid(0, 0),
    "an unknown spacing": lambda m: setattr(m.pixel, "spacing", 2),
    "a far spacing": lambda m: setattr(m.pixel, "spacing", 2**32 - 1),
    "soft labels of nothing": lambda m: m.soft_labels.SetInParent(),
    "a logit too few": _logits(*[0] * 14),
    "a logit too many": _logits(*[0] * 16),
    "a logit that is no number": _logits(*[0] * 14, np.nan),
    "an infinite logit": _logits(*[0] * 14, -np.inf),
    "soft labels of a huge set": _taught_many,
    "a learning rate that is no number": lambda m: setattr(m, "learning_rate", np.nan),
    "an infinite learning rate": lambda m: setattr(m, "learning_rate", np.inf),
    "a negative learning rate": lambda m: setattr(m, "learning_rate", -1e-3),
    "an unknown transform": lambda m: setattr(m.pixel, "transform", 2),
    "a far transform": lambda m: setattr(m.pixel, "transform", 2**32 - 1),
    "a transform without a band": _banded(0),
    "a band beyond the sides": _banded(7),
    "a far band": _banded(2**32 - 1),
    "a transform with the grid of one band": _banded(2, halves=1),
    "a transform with half a number": lambda m: _banded(2)(m) or setattr(m.pixel, "grid", m.pixel.grid[1:]),
    "a high band with a step of 0": lambda m: _banded(2)(m) or _with_grid(0, 1, 0, 1, 0, 1, 0, 0)(m),
    "a transform of flat samples": lambda m: _banded(2)(m) or _shape(2)(m),
    "a transform of a side of 257": lambda m: _banded(2)(m) or _by_counts(_shape(2, 1, 257))(m),
    "floats that are no numbers": _floats(b"\xff" * 500),
    "a grid too long": _with_grid(0, 1, 0, 1, 0, 1),
    "a grid that is no number": _with_grid(np.nan, 1, 0, 1),
    "an infinite step": _with_grid(0, 1, 0, np.inf),
    "a step of 0": _with_grid(0, 1, 0, 0),
    "a negative step": _with_grid(0, -1, 0, 1),
    "a step too small to matter": _with_grid(60000, 0.001, 0, 1),
}
TOO_MUCH: dict[str, Change] = {
    "2^32 - 1 of each class": _counts(2**32 - 1),
    "a class of 2^32 - 1": _counts(1, 1, 2**32 - 1),
    "vast samples": _shape(2, (1 << 24) - 1, (1 << 24) - 1),
    "large samples, many": _large_samples(2, 512, 512),
    "one sample of many positions": _shape(2, 2000, 2000),
    "vast samples of floats": lambda m: _floats(b"")(m) or _shape(2, (1 << 24) - 1, (1 << 24) - 1)(m),
}
STARVED: dict[str, Change] = {
    "224 by 224": _by_counts(_shape(2, 224, 224)),
    "300,000 samples": _by_counts(_counts(100_000)),
    "many small samples": _many_small_samples_of_one_bit,
    "small samples that grow": _upsampled,
    "streams of many classes": _many_classes_of_their_own,
    "a long row": _by_counts(_shape(2, 1, 60_000)),
    "sides that mixing would take long for": _shape(2, 70, 70),
    "many floats": _many_floats,
    "many coefficients": _many_coefficients,
}


def changed(change: Change) -> bytes:
    message = message_of(BLOB)
    change(message)
    return packed(message)


@pytest.mark.parametrize("what", CORRUPT)
def test_messages_that_no_encoder_writes(what: str) -> None:
    classes = [0] if "huge" in what else None
    with pytest.raises(CorruptError) as caught:
        decode(changed(CORRUPT[what]), classes=classes)
    assert "\n" not in str(caught.value)
    _inspects_or_refuses(changed(CORRUPT[what]))


@pytest.mark.parametrize("what", [*TOO_MUCH, *STARVED])
def test_small_blobs_that_ask_for_much_get_nothing(what: str) -> None:
    blob = changed({**TOO_MUCH, **STARVED}[what])
    tracemalloc.start()
    try:
        with pytest.raises(LimitError if what in TOO_MUCH else CorruptError):
            decode(blob)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    _inspects_or_refuses(blob)


MEMORY = """
import ctypes
import numpy as np
from pathlib import Path
from fedbits import decode, encode
from fedbits.wire import distilled_set_pb2 as pb
from making import make_data, packed
from storing import as_floats

def peak(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def blob(count, side, factor_log2, form="pixel"):
    stored = count * (side >> factor_log2) ** 2
    task = pb.Task(shape=(1, side, side), classes=1, normalisation=np.array([0, 1], "<f2").tobytes())
    grid = np.array([0, 1], "<f2").tobytes()
    pixel = pb.Pixel(bits=1, coder=0, factor_log2=factor_log2, grid=grid)
    stream = np.random.default_rng(0).bytes(stored // 8 + 8192)
    message = pb.DistilledSet(task_described=task, class_counts=[count], pixel=pixel, stream=stream)
    if form == "dct":
        message.pixel.transform, message.pixel.band, message.pixel.grid = 1, 3, grid * 2
    if form == "floats":
        return encode(as_floats(make_data((1, side, side), [count]), count))
    return packed(message)

forms = [(7000, 28, 0, "pixel"), (7000, 28, 1, "pixel"), (4, 1024, 3, "pixel")]
forms += [(7000, 28, 0, "dct"), (7000, 28, 1, "dct"), (90, 256, 0, "dct"), (7000, 28, 0, "floats")]
for count, side, factor_log2, form in forms:
    decode(blob(1, side, factor_log2, form)).raw()
    sent, received = blob(count, side, factor_log2, form), None
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # what was freed would be had for nothing
    Path("/proc/self/clear_refs").write_text("5")  # start the peak again
    before = peak("VmRSS")
    received = decode(sent)
    received.samples
    received.raw()
    print(form, round((peak("VmHWM") - before) / 2**20), round(received.samples.nbytes / 2**20))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures as Linux does")
def test_decoding_takes_little_memory_besides_the_set() -> None:
    """Symbols with their margins (1.3 bytes a number), samples (4), those as the data is (1), 24 MiB.

    And coefficients (4), from which samples are made. Floats are four symbols a number, and their stream is
    as large as they are: it is in the blob, in the message, and twice where it is read.
    """
    besides = {"pixel": 1.3, "dct": 1.3 + 4, "floats": 4 * 1.3 + 4 * 4}
    for line in in_fresh_process(MEMORY).splitlines():
        form, *sizes = line.split()
        peak, samples = map(int, sizes)
        assert samples >= 16
        assert peak <= (4 + besides[form] + 1) / 4 * samples + 24, line


def _inspects_or_refuses(blob: bytes) -> None:
    for read in (inspect, ledger):
        try:
            read(blob)
        except FormatError:
            continue


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


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (DecodeLimits(blob_bytes=len(BLOB) - 1), "bytes"),
        (DecodeLimits(samples=4), "samples"),
        (DecodeLimits(elements=5 * 24 - 1), "numbers"),
        (DecodeLimits(work=1000), "work"),
    ],
)
def test_the_receiver_sets_the_limits(limits: DecodeLimits, message: str) -> None:
    with pytest.raises(LimitError, match=message):
        decode(BLOB, limits)
    assert len(decode(BLOB, DecodeLimits(len(BLOB), 5, 2 * (128 + 8)))) == 5  # statistics of two channels


def test_a_receiver_may_refuse_networks() -> None:
    blob = (Path(__file__).parent / "golden" / "v1-own-network.fbits").read_bytes()
    assert len(decode(blob, DecodeLimits(parameters=1 << 12))) > 0
    with pytest.raises(LimitError, match="parameters"):
        decode(blob, DecodeLimits(parameters=100))
    assert len(decode(BLOB, DecodeLimits(parameters=0))) == 5


def test_limits_admit_large_images() -> None:
    spec = make_spec((3, 224, 224), 1000)
    message = pb.DistilledSet(stream=bytes(100_000), pixel=pb.Pixel(bits=3))
    container._check_limits(message, spec, [100], DecodeLimits())


@pytest.mark.parametrize("side", [40, 80])
def test_sets_that_hold_next_to_nothing_come_back(side: int) -> None:
    """So much work has a price in bytes, although all these samples are one colour."""
    data = TensorData(make_spec((1, side, side), 1), torch.full((2, 1, side, side), 7), torch.zeros(2).long())
    sent = make_set(data, 2)
    blob = encode(sent)
    received = decode(blob)
    assert torch.equal(received.samples, sent.samples)
    assert encode(received) == blob
    assert len(blob) < 800


@pytest.mark.parametrize(("shape", "factor", "count"), [((1, 64, 64), 8, 3000), ((1, 1, 7), 8, 110_000)])
def test_many_numbers_have_a_price_in_bytes(shape: tuple[int, ...], factor: int, count: int) -> None:
    spec = make_spec(shape, 1)
    data = TensorData(spec, torch.full((count, *shape), 7, dtype=torch.uint8), torch.zeros(count).long())
    sent = make_set(data, count, 1, factor)
    with by_coder(1):
        blob = encode(sent)
    message, numbers = message_of(blob), count * max(spec.elements, 64)
    assert len(message.stream) == -(-(numbers - 2**22) // 2**11)
    assert torch.equal(decode(blob).samples, sent.samples)
    message.stream = message.stream[:-1]
    for read in (decode, reader.read):
        with pytest.raises((CorruptError, ValueError)):
            read(packed(message))


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
    _inspects_or_refuses(blob)
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
