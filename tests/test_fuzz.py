"""A short run of the fuzzers: nothing but a FormatError escapes a reader, and all readers agree.

The long run is ``benchmarks/fuzz.py``.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from fuzz import target
from fuzz.make_corpus import changed, described, seeds, tiny_blob
from fuzz.mutate import HEADER, LARGEST, fit, mutate, varint
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_spec, packed

from fedbits.coding import CODERS
from fedbits.container import DecodeLimits, decode, inspect
from fedbits.distilled_set import DistilledSet
from fedbits.errors import CorruptError, FormatError, LimitError
from fedbits.wire import distilled_set_pb2 as pb

PATHS = sorted(target.CORPUS.iterdir())


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_corpus(path: Path) -> None:
    target.check(path.read_bytes())


def test_the_corpus_is_small_and_has_every_form() -> None:
    """After a change of the format, run ``python tests/fuzz/make_corpus.py``."""
    assert sum(path.stat().st_size for path in PATHS) < 100_000
    assert {f"{name}.fbits" for name in seeds()} <= {path.name for path in PATHS}
    readings = [target.read(path.read_bytes()) for path in PATHS]
    outcomes = {reading.outcome for reading in readings}
    assert outcomes == {"decoded", *(error.__name__ for error in FormatError.__subclasses__())}
    read = [reading.facts["coder"] for reading in readings if isinstance(reading.decoded, DistilledSet)]
    assert {name for name, _ in CODERS.values()} <= set(read)


def test_mutated_blobs() -> None:
    """As the long run does it: what went a new way is mutated further."""
    rng, outcomes, ways = random.Random(0), Counter[str](), set[str]()
    pool = [path.read_bytes() for path in PATHS if "hostile" not in path.name]
    for turn in range(400):
        data = mutate(rng.choice(pool), rng)
        assert len(data) <= LARGEST
        reading = target.read(data)
        target.verify(data, reading, sent_on=turn % target.ONE_IN == 0)
        outcomes[reading.outcome] += 1
        if reading.reason not in ways:
            ways.add(reading.reason)
            pool.append(data)
    assert outcomes["decoded"] > 40, "mutations hardly reach the coders"
    assert {"CorruptError", "LimitError", "TruncatedError"} <= set(outcomes)


_HALF = st.sampled_from([0, 0x8000, 1, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00])
_SIDE = st.one_of(st.integers(0, 9), st.sampled_from([1000, 1 << 16, (1 << 24) - 1, 1 << 24, (1 << 32) - 1]))
_COUNT = st.one_of(st.integers(0, 3), st.sampled_from([1000, 1 << 20, (1 << 32) - 1]))


@st.composite
def messages(draw: st.DrawFn) -> pb.DistilledSet:
    """Messages whose every field is drawn by itself; mostly, lengths then agree."""
    message = pb.DistilledSet(stream=draw(st.binary(max_size=40)))
    if draw(st.booleans()):
        message.known_task = draw(st.integers(0, 6))
    else:
        task = message.task_described
        task.name, task.floating = draw(st.text(max_size=4)), draw(st.booleans())
        task.shape.extend(draw(st.lists(_SIDE, max_size=4)))
        task.classes = draw(st.one_of(st.integers(0, 4), st.sampled_from([1 << 20, (1 << 32) - 1])))
        task.normalisation = np.array(draw(st.lists(_HALF, max_size=8)), "<u2").tobytes()
    message.class_counts.extend(draw(st.lists(_COUNT, max_size=4)))
    pixel = message.pixel
    pixel.bits, pixel.factor_log2 = draw(st.integers(0, 9)), draw(st.integers(0, 4))
    pixel.coder = draw(st.integers(0, max(CODERS) + 1))
    pixel.grid = np.array(draw(st.lists(_HALF, max_size=8)), "<u2").tobytes()
    if draw(st.integers(0, 3)):
        fit(message)
    return message


@settings(max_examples=80)
@given(message=messages(), tail=st.binary(max_size=6))
def test_messages_of_any_values(message: pb.DistilledSet, tail: bytes) -> None:
    target.check(packed(message.SerializeToString() + tail))


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs the extra 'fuzz'")
def test_the_guided_fuzzer(tmp_path: Path) -> None:
    script = Path(target.__file__).with_name("guided.py")
    flags = ("-runs=400", "-seed=1", f"-artifact_prefix={tmp_path}/", str(tmp_path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), *flags], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 400 runs" in done.stderr
    assert list(tmp_path.iterdir()), "no input reached anything new: is fedbits instrumented?"


def _another_error(*_: object) -> None:
    raise ValueError


def _other_samples(blob: bytes, *limits: Any) -> DistilledSet:
    decoded = decode(blob, *limits)
    decoded.__dict__["samples"] = decoded.samples * float("nan")
    return decoded


@pytest.mark.parametrize("broken", [_another_error, _other_samples])
def test_the_check_sees_what_is_wrong(broken: Any) -> None:
    target.check(tiny_blob())
    with mock.patch("fuzz.target.decode", broken), pytest.raises((ValueError, AssertionError)):
        target.check(tiny_blob())


def test_a_tally_stops_at_slow_and_at_large_inputs() -> None:
    tally = target.Tally()
    assert tally.check(tiny_blob()) and not tally.check(tiny_blob())
    assert tally.report()["outcomes"] == {"decoded": 2}
    with mock.patch("fuzz.target.SECONDS", 0.0), pytest.raises(AssertionError, match="took"):
        tally.check(tiny_blob())
    with mock.patch("fuzz.target.MEGABYTES", -1.0), pytest.raises(AssertionError, match="memory"):
        tally.check(tiny_blob())


# What fuzzing found, each as it was.


def test_samples_that_grow_have_a_price() -> None:
    """A blob of 108 bytes took 2.8 s and 800 MB, for the work that reading 2^20 symbols takes."""
    blob = described((1, 8, 8), [1 << 20], 1, 0, factor_log2=3, stream=bytes(51))
    with pytest.raises(LimitError, match="work"):
        decode(blob, DecodeLimits(work=1 << 25))


def test_margins_count_as_numbers() -> None:
    """Each value of samples of 1×1 took 48 bytes, of which the limit on numbers knew 25."""
    with pytest.raises(LimitError, match="numbers"):
        decode(described((12, 1, 1), [1 << 22], 1, 0, stream=bytes(9000)))


def test_statistics_count_as_numbers() -> None:
    """Each channel of an order-0 coder takes up to 5 KB, whatever few samples there are: here 4 GB in all."""
    channels = 800_000
    spec = make_spec((3, 1, 1), 1)
    object.__setattr__(spec, "shape", (channels, 1, 1))  # to make one of so many channels takes seconds
    blob = described((1, 1, 1), [1], 8, 1, stream=bytes(9000))
    reading = mock.patch("fedbits.container._read_task", lambda _: spec)
    with reading, pytest.raises(LimitError, match="numbers"):
        decode(blob)


@pytest.mark.parametrize("field", ["counts", "sides"])
def test_long_lists_are_not_copied_to_see_that_they_are_too_long(field: str) -> None:
    """A megabyte of numbers of a byte each took eight and more as a Python list."""
    numbers = b"\x01" * (1 << 20)
    listed = varint(3 << 3 | 2) + varint(len(numbers)) + numbers
    if field == "sides":
        listed = varint(2 << 3 | 2) + varint(len(listed)) + b"\x12" + listed[1:]
    blob = packed(tiny_blob()[HEADER:] + listed)
    tracemalloc.start()
    try:
        for read in (decode, inspect):
            with pytest.raises(CorruptError):
                read(blob)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("added", [b"\x3a\x01\xff", b"\x12\x03\x0a\x01\x80"])
def test_names_that_are_not_utf_8(added: bytes) -> None:
    """protobuf in pure Python, as it is installed where it has no compiled wheel, raises another error."""
    blob = packed(tiny_blob()[HEADER:] + added)
    with pytest.raises(CorruptError, match="not of the declared format"):
        decode(blob)
    refusal = UnicodeDecodeError("utf-8", added, 0, 1, "invalid start byte")
    message = mock.Mock(ParseFromString=mock.Mock(side_effect=refusal))
    with mock.patch("fedbits.container.pb.DistilledSet", lambda: message), pytest.raises(CorruptError):
        decode(blob)


def test_a_change_of_the_tiny_blob_is_all_that_is_changed() -> None:
    assert changed(lambda message: None) == tiny_blob()
