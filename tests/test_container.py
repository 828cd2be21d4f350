"""The wire format: exact, small, and safe with any bytes."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from fresh import in_fresh_process
from golden import reader
from hypothesis import example, given, settings
from hypothesis import strategies as st
from making import make_data, make_set, make_spec, message_of, packed, small_blob

from fedbits import container
from fedbits.coding import CODERS
from fedbits.container import DecodeLimits, decode, encode, inspect, ledger
from fedbits.data import DataSpec, TensorData, load
from fedbits.data.known import KNOWN
from fedbits.distilled_set import DistilledSet
from fedbits.errors import (
    ConfigError,
    CorruptError,
    FormatError,
    LimitError,
    NotABlobError,
    TruncatedError,
    VersionError,
)
from fedbits.wire import distilled_set_pb2 as pb

GOLDEN = Path(__file__).parent / "golden"
BLOB = small_blob()
HEADER = 14


@settings(max_examples=40)
@given(
    shape=st.sampled_from([(1, 8, 8), (3, 8, 8), (1, 7, 5), (9,), (1,), (1, 1, 4)]),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any),
    bits=st.integers(1, 8),
    factor=st.sampled_from([1, 2, 4, 8]),
    dtype=st.sampled_from(["uint8", "float32"]),
    recipe=st.sampled_from(["quadd", "random", "my own", ""]),
)
def test_a_set_comes_back(
    shape: tuple[int, ...], counts: list[int], bits: int, factor: int, dtype: str, recipe: str
) -> None:
    sent = make_set(make_data(shape, counts, 0, dtype), 4, bits, factor, recipe)
    blob = encode(sent)
    received = decode(blob)
    assert torch.equal(received.samples, sent.samples)
    assert torch.equal(received.labels, sent.labels)
    assert received.class_counts() == counts
    assert received.spec == sent.spec
    assert received.recipe == recipe
    assert received.describe() == sent.describe()
    assert encode(received) == blob
    bits_of = ledger(blob)
    assert bits_of.total_bits == 8 * len(blob) == sum(bits_of.components.values())
    assert min(bits_of.components.values()) >= 0
    assert bits_of.bits_per_class == 8 * len(blob) / sum(count > 0 for count in counts)


def some_set(counts: list[int], shape: tuple[int, ...] = (2, 5, 4), bits: int = 3) -> DistilledSet:
    return make_set(make_data(shape, counts), max(counts), bits, 2)


def by_coder(number: int) -> Any:
    """Encode by one coder, whatever is the smallest."""
    return mock.patch("fedbits.parameterization.pixel.smallest_coder", lambda *_: (number, 0.0))


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
    shape=st.sampled_from([(1, 8, 8), (3, 5, 4), (9,), (1,)]),
    bits=st.integers(1, 8),
    per_class=st.booleans(),
    chosen=st.sets(st.integers(0, 5)),
    coder=st.sampled_from([0, 1, 2, 3]),
)
@example(counts=[2, 0, 1], shape=(1, 8, 8), bits=2, per_class=True, chosen={2}, coder=4)
def test_some_classes_come_back(
    counts: list[int], shape: tuple[int, ...], bits: int, per_class: bool, chosen: set[int], coder: int
) -> None:
    sent = some_set(counts, shape, bits)
    with by_coder(coder):
        blob = encode(sent, per_class=per_class)
    several = sum(count > 0 for count in counts) > 1
    assert inspect(blob)["per_class"] == (per_class and several)
    assert torch.equal(decode(blob).samples, sent.samples)
    assert sum(ledger(blob).components.values()) == 8 * len(blob)
    classes = [label for label in chosen if label < len(counts)]
    if not any(counts[label] for label in classes):
        with pytest.raises(ConfigError, match="no samples"):
            decode(blob, classes=classes)
        return
    wanted = torch.isin(sent.labels, torch.tensor(classes))
    for received in (decode(blob, classes=classes), decode(blob, classes=set(classes))):
        assert received.class_counts() == [n if k in classes else 0 for k, n in enumerate(counts)]
        assert torch.equal(received.samples, sent.samples[wanted])
        assert torch.equal(received.labels, sent.labels[wanted])
        assert received.spec == sent.spec and received.recipe == sent.recipe
    read = reader.read(blob, set(classes))
    assert np.array_equal(read.samples, sent.samples[wanted].numpy())
    assert read.counts == received.class_counts()


@pytest.mark.parametrize("classes", [[3], [-1], [0, 99], range(4)])
def test_classes_that_do_not_exist(classes: Collection[int]) -> None:
    for per_class in (False, True):
        with pytest.raises(ConfigError, match="classes 0 to 2"):
            decode(encode(some_set([2, 1, 2]), per_class=per_class), classes=classes)


def test_classes_of_their_own_are_not_decoded_for_others() -> None:
    """Not even where they could not be."""
    with by_coder(2):
        blob = encode(some_set([4, 0, 4, 4]), per_class=True)
    lengths, damaged = list(message_of(blob).class_lengths), message_of(blob)
    damaged.stream = b"\xff" * lengths[0] + damaged.stream[lengths[0] :]
    with pytest.raises(CorruptError, match="could have written"):
        decode(packed(damaged))
    assert torch.equal(decode(packed(damaged), classes=[2, 3]).samples, decode(blob).samples[4:])


def test_limits_are_on_what_is_decoded() -> None:
    sent = some_set([9, 1, 9])
    for per_class in (False, True):
        with by_coder(2):
            blob = encode(sent, per_class=per_class)
        work = container._decoding_work(message_of(blob), sent.spec, [0, 1, 0])
        limits = DecodeLimits(samples=1, elements=272, work=work + 24)
        if per_class:
            assert len(decode(blob, limits, classes=[1])) == 1
        with pytest.raises(LimitError):
            decode(blob, limits if not per_class else replace(limits, work=work - 1), classes=[1])
        with pytest.raises(LimitError):
            decode(blob, limits)


def test_streams_of_classes_cost_little() -> None:
    """Beside what a class cannot learn from the others: two bytes a class, and what rounds its words up."""
    counts = [3] * 20
    sent = make_set(make_data((1, 8, 8), counts), 3, 8)
    with by_coder(0):
        whole, apart = encode(sent), encode(sent, per_class=True)
    assert len(apart) - len(whole) <= 6 * len(counts)


@pytest.mark.parametrize("number", KNOWN)
def test_a_known_data_set_costs_few_bytes_besides_its_samples(number: int) -> None:
    spec = KNOWN[number]
    labels = torch.arange(spec.classes).repeat_interleave(2)
    samples = torch.randint(0, 255, (len(labels), *spec.shape), generator=torch.Generator().manual_seed(0))
    blob = encode(make_set(TensorData(spec, samples.to(torch.uint8), labels), 2, 2, 2))
    assert len(blob) - len(message_of(blob).stream) <= 48
    assert ledger(blob).components["samples"] == 8 * len(message_of(blob).stream)
    assert decode(blob).spec == spec


def test_a_set_of_one_stream_has_a_small_container() -> None:
    """The header, the names and lengths of all fields: everything but samples, labels and grid."""
    for data in (make_data((1, 8, 8), [3] * 10), make_data((3, 8, 8), [3, 2, 0]), make_data((30,), [3, 3])):
        with by_coder(2):
            bits = ledger(encode(make_set(data, 3))).components
        assert bits["container"] <= 8 * 48, bits


def test_normalisation_takes_two_bytes_a_feature_where_it_needs_no_more() -> None:
    spec = make_spec((30,), 2, "float32")
    deviation = np.linspace(14, 200, 30).astype(int).astype("<u2") << 7
    std = deviation.view("<f2").astype(float)
    short = replace(spec, mean=tuple(std / 8 * np.arange(-60, 60, 4)), std=tuple(std))
    sizes = {}
    for one in (spec, short):
        data = TensorData(one, torch.zeros(2, 30), torch.arange(2))
        with by_coder(1):
            blob = encode(make_set(data, 1))
        assert decode(blob).spec == one
        assert reader.read(blob).task.mean.tolist() == list(one.mean)
        assert reader.read(blob).task.std.tolist() == list(one.std)
        sizes[one] = ledger(blob).components["side information"] / 8
    assert sizes[spec] == 4 * 30 + 4
    assert sizes[short] <= 2 * (30 + 2) + 4
    assert message_of(blob).task_described.normalisation == b""


@settings(max_examples=60)
@given(
    mean=st.lists(st.floats(-65504, 65504), min_size=3, max_size=3),
    std=st.lists(st.floats(1e-4, 65504), min_size=3, max_size=3),
    eighths=st.booleans(),
)
def test_every_normalisation_comes_back(mean: list[float], std: list[float], eighths: bool) -> None:
    if eighths:
        words = np.array(std, "<f2").view("<u2") & 0xFF80
        std = np.maximum(words, 14 << 7).astype("<u2").view("<f2").astype(float).tolist()
        mean = [round(m * 8 / s) * s / 8 for m, s in zip(mean, std, strict=True)]
    spec = DataSpec("any", (3,), 1, tuple(mean), tuple(std), "float32")
    with by_coder(1):
        blob = encode(make_set(TensorData(spec, torch.zeros(1, 3), torch.zeros(1).long()), 1))
    assert decode(blob).spec == spec


def test_a_data_set_that_only_bears_a_known_name_is_described() -> None:
    spec = replace(KNOWN[1], mean=(0.5,))
    blob = encode(make_set(TensorData(spec, torch.zeros(1, 1, 8, 8), torch.zeros(1).long()), 1))
    assert message_of(blob).WhichOneof("task") == "task_described"
    assert decode(blob).spec.mean == (0.5,)


def test_inspect_tells_what_decoding_gives() -> None:
    digits = load("digits").train
    blob = encode(make_set(digits, 3, 4, 2, "herding"))
    facts = json.loads(json.dumps(inspect(blob)))
    assert facts["dataset"] == "digits"
    assert facts["shape"] == [1, 8, 8]
    assert facts["classes"] == 10
    assert facts["class_counts"] == [3] * 10
    assert (facts["bits"], facts["factor"], facts["recipe"]) == (4, 2, "herding")
    assert facts["coder"] in {name for name, _ in CODERS.values()}
    assert facts["bytes"] == len(blob)
    assert sum(facts["ledger"].values()) == 8 * len(blob)


def test_decoded_samples_look_like_the_data() -> None:
    data = make_data((3, 8, 8), [4, 4])
    received = decode(encode(make_set(data, 4, 8)))
    original = torch.cat([data.samples[index] for index in data.class_indices()])
    assert received.raw().dtype == torch.uint8
    assert float((received.raw().float() - original.float()).abs().mean()) < 1
    assert received[5][1] == 1
    assert torch.equal(received[5][0], received.batch(torch.tensor([5])).samples[0])


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
    "half a grid": _with_grid(0, 1),
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
}
STARVED: dict[str, Change] = {
    "224 by 224": _by_counts(_shape(2, 224, 224)),
    "300,000 samples": _by_counts(_counts(100_000)),
    "many small samples": _many_small_samples_of_one_bit,
    "small samples that grow": _upsampled,
    "streams of many classes": _many_classes_of_their_own,
    "a long row": _by_counts(_shape(2, 1, 60_000)),
    "sides that mixing would take long for": _shape(2, 70, 70),
}


def changed(change: Change) -> bytes:
    message = message_of(BLOB)
    change(message)
    return packed(message)


@pytest.mark.parametrize("what", CORRUPT)
def test_messages_that_no_encoder_writes(what: str) -> None:
    with pytest.raises(CorruptError) as caught:
        decode(changed(CORRUPT[what]))
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
import numpy as np
from pathlib import Path
from fedbits import decode
from fedbits.wire import distilled_set_pb2 as pb
from making import packed

def peak(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def blob(count, side, factor_log2):
    stored = count * (side >> factor_log2) ** 2
    task = pb.Task(shape=(1, side, side), classes=1, normalisation=np.array([0, 1], "<f2").tobytes())
    grid = np.array([0, 1], "<f2").tobytes()
    pixel = pb.Pixel(bits=1, coder=0, factor_log2=factor_log2, grid=grid)
    stream = np.random.default_rng(0).bytes(stored // 8 + 8192)
    return packed(pb.DistilledSet(task_described=task, class_counts=[count], pixel=pixel, stream=stream))

for count, side, factor_log2 in ((7000, 28, 0), (7000, 28, 1), (4, 1024, 3)):
    decode(blob(1, side, factor_log2)).raw()
    sent = blob(count, side, factor_log2)
    Path("/proc/self/clear_refs").write_text("5")  # start the peak again
    before = peak("VmRSS")
    received = decode(sent)
    received.samples
    received.raw()
    print(round((peak("VmHWM") - before) / 2**20), round(received.samples.nbytes / 2**20))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures as Linux does")
def test_decoding_takes_little_memory_besides_the_set() -> None:
    """Symbols with their margins (1.3 bytes a number), samples (4), those as the data is (1), 24 MiB."""
    for line in in_fresh_process(MEMORY).splitlines():
        peak, samples = map(int, line.split())
        assert samples >= 16
        assert peak <= (4 + 1.3 + 1) / 4 * samples + 24, line


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


def sha256(distilled: DistilledSet) -> str:
    samples = distilled.samples.numpy().astype("<f4").tobytes()
    return hashlib.sha256(samples + bytes(distilled.class_counts())).hexdigest()


def test_golden_blobs() -> None:
    """What version 1 wrote, every later version decodes to the same numbers."""
    expected = json.loads((GOLDEN / "sha256.json").read_text())
    coders = set()
    for name, digest in expected.items():
        blob = (GOLDEN / name).read_bytes()
        assert sha256(decode(blob)) == digest
        assert len(blob) < 2048
        coders.add(inspect(blob)["coder"])
    assert coders == {name for name, _ in CODERS.values()}


def test_golden_blobs_under_other_thread_counts() -> None:
    code = f"""
import hashlib, pathlib, torch
from fedbits import decode
torch.set_num_threads(2)
for path in sorted(pathlib.Path({str(GOLDEN)!r}).glob("*.fbits")):
    got = decode(path.read_bytes())
    print(hashlib.sha256(got.samples.numpy().astype("<f4").tobytes() + bytes(got.class_counts())).hexdigest())
"""
    expected = json.loads((GOLDEN / "sha256.json").read_text())
    assert in_fresh_process(code, 2).split() == [expected[name] for name in sorted(expected)]


def test_labels_are_class_major_and_cost_one_number_when_balanced() -> None:
    balanced = encode(make_set(make_data((1, 4, 4), [3] * 20), 3))
    assert list(message_of(balanced).class_counts) == [3]
    assert ledger(balanced).components["labels"] == 8 * 3
    assert decode(balanced).labels.tolist() == [c for c in range(20) for _ in range(3)]
