"""What a small blob may ask of its receiver: time, memory, and what limits both."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from fresh import in_fresh_process
from golden import reader
from hostile import BLOB, EPITOME, STARVED, TOO_MUCH, VIEWED, changed, inspects_or_refuses
from making import by_coder, make_data, make_set, make_spec, message_of, packed

from fedbits.container import DecodeLimits, decode, encode, inspect, ledger
from fedbits.container.limits import check_limits
from fedbits.data import TensorData
from fedbits.declared import declared
from fedbits.errors import CorruptError, LimitError
from fedbits.labels.stored import DeclaredLabels
from fedbits.wire import distilled_set_pb2 as pb


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
    inspects_or_refuses(blob)


MEMORY = """
import ctypes
import numpy as np
from pathlib import Path
from fedbits import decode, encode
from fedbits.wire import distilled_set_pb2 as pb
from making import make_data, packed
from fuzz.corpus_epitomes import epitome
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
    if form == "epitome":
        return epitome((1, side, side), count, 2, 2, blocks=1, patch=14, length=8192)
    if form == "floats":
        return encode(as_floats(make_data((1, side, side), [count]), count))
    return packed(message)

forms = [(7000, 28, 0, "pixel"), (7000, 28, 1, "pixel"), (4, 1024, 3, "pixel")]
forms += [(7000, 28, 0, "dct"), (7000, 28, 1, "dct"), (90, 256, 0, "dct"), (7000, 28, 0, "floats")]
forms += [(7000, 28, 0, "epitome")]
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
    """Symbols with their margins (1.3 bytes a number), samples (4), those as the data is (1), 8 MiB.

    And coefficients (4), from which samples are made. Floats are four symbols a number, and their stream is
    as large as they are: it is in the blob, in the message, and twice where it is read. Epitomes have hardly
    any symbols here, but tensors of 8 bytes a number while patches are made, up to 32 MiB.
    """
    besides = {"pixel": 1.3, "dct": 1.3 + 4, "floats": 4 * 1.3 + 4 * 4, "epitome": 4 * 32 / 21}
    for line in in_fresh_process(MEMORY).splitlines():
        form, *sizes = line.split()
        peak, samples = map(int, sizes)
        assert samples >= 16
        assert peak <= (4 + besides[form] + 1) / 4 * samples + 8, line


def test_the_work_of_networks_too_large_is_not_even_computed() -> None:
    """To add it up took minutes for those of a million channels, whose numbers alone no limit admits."""
    blob = changed(TOO_MUCH["an epitome of all there is"])
    work = "fedbits.parameterization.epitome.stream.weights_work"
    with mock.patch(work, side_effect=AssertionError), pytest.raises(LimitError, match="numbers"):
        decode(blob)


def test_a_ledger_that_reads_its_stream_keeps_limits() -> None:
    assert sum(ledger(EPITOME).components.values()) == 8 * len(EPITOME)
    for read in (ledger, inspect):
        with pytest.raises(LimitError, match="work"):
            read(EPITOME, DecodeLimits(work=1000))
        read(BLOB, DecodeLimits(work=1000))  # of which nothing is read


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


def test_a_receiver_limits_samples_and_labels_together() -> None:
    bare, labels = encode(make_set(make_data((2, 3, 4), [2, 1, 2]))), message_of(VIEWED).view_labels
    ours = declared(message_of(bare), make_spec((2, 3, 4)))
    theirs = DeclaredLabels(labels, 5, 3)
    least = {"elements": ours.elements(5), "work": ours.work([2, 1, 2], False), "parameters": 0}
    more = {name: getattr(theirs, name) for name in least}
    limits = DecodeLimits(**{name: least[name] + more[name] for name in least})
    assert len(decode(VIEWED, limits)) == 5
    for name in least:
        lower = replace(limits, **{name: max(least[name], more[name])})
        assert len(decode(bare, lower)) == 5
        lower = lower if least[name] else replace(limits, **{name: more[name] - 1})
        with pytest.raises(LimitError):
            decode(VIEWED, lower)
        assert decode(VIEWED, lower, classes=[0]).view_labels is None  # what is not read is not limited


LABELS_MEMORY = """
import ctypes
import torch
from fedbits.coding.grid import least_stream
from fedbits.labels.stored import DeclaredLabels
from fedbits.wire import distilled_set_pb2 as pb
from fuzz.memory import Peak

for samples, classes, fields in (
    (30_000, 4, {"epochs": 50, "codec": 1, "levels": 2}),
    (400_000, 1, {"epochs": 2, "codec": 1, "levels": 2}),
    (1, 8000, {"epochs": 1, "codec": 1, "levels": 2}),
    (1000, 300, {"epochs": 1, "codec": 5, "width": 3, "segment": 1, "levels": 4096}),
    (1, 1000, {"epochs": 1, "codec": 5, "width": 1000, "segment": 1000, "levels": 2}),
):
    declared = DeclaredLabels(pb.ViewLabels(**fields, counted=True, mix=2), samples, classes)
    declared.check()
    declared.message.stream = bytes(least_stream(declared.payable))
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # what was freed would be had for nothing
    peak = Peak()
    labels = declared.read(torch.arange(samples) * classes // samples)
    print(labels.table.nbytes, round(peak.grown() * 2**20), declared.elements)
    del labels
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures as Linux does")
def test_decoding_labels_takes_what_they_declare() -> None:
    """In a process of its own: another may hold memory already that decoding then takes."""
    rows = [tuple(map(int, line.split())) for line in in_fresh_process(LABELS_MEMORY).splitlines()]
    assert len(rows) == 5
    for table, grown, elements in rows:
        assert table < grown + 2**22 < 8 * elements + 2**23


def test_limits_admit_large_images() -> None:
    spec = make_spec((3, 224, 224), 1000)
    message = pb.DistilledSet(stream=bytes(100_000), pixel=pb.Pixel(bits=3))
    check_limits(message, spec, [100], DecodeLimits())


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
