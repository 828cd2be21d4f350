"""Streams as docs/format.md has them: batches, their coders, and the range coder below."""

from __future__ import annotations

import hashlib
import math
import struct
from fractions import Fraction
from unittest import mock

import constriction
import numpy as np
import pytest
import torch
from documented import (
    COUNTING,
    DOCUMENT,
    FAMILY,
    MIXED,
    assert_reads_the_same,
    constricted,
    range_decoded,
    written,
)
from golden import reader, reader_mixing, reader_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_set, make_spec, message_of, packed
from numpy.typing import NDArray

from fedbits import decode
from fedbits.coding import CODERS, RangeReader, code_grid, coding_work
from fedbits.coding.view import View
from fedbits.data import TensorData
from fedbits.errors import FormatError


@pytest.mark.parametrize("coder", COUNTING)
def test_batches_grow_and_are_cut(coder: int) -> None:
    """256 levels allow 4,096 samples a batch."""
    values = (torch.arange(4500) // 40) + torch.arange(3)[:, None]
    data = TensorData(make_spec((3,), 1), values.T.to(torch.uint8), torch.zeros(4500).long())
    assert_reads_the_same(written(make_set(data, 4500, 8), coder))


def test_large_steps_of_the_mixed_coder() -> None:
    """Counters run far over what they keep, and there are more of them than the fewest."""
    values = torch.arange(4200) % 200 * (torch.arange(4200) % 5 == 0)
    data = TensorData(make_spec((1,), 1), values[:, None].to(torch.uint8), torch.zeros(4200).long())
    sent = make_set(data, 4200, 8)
    assert_reads_the_same(written(sent, MIXED), sent)


Batch = tuple[list[int], int, int, int]  # classes of its samples, channel, row, column


@pytest.mark.parametrize(
    ("coder", "shape", "bits", "batches"),
    [
        (0, (9000, 2, 1, 1), 8, 13 + 2 + 3),
        (2, (5, 2, 3, 2), 2, 4 + 11),
        (MIXED, (33, 2, 2, 3), 4, 6 + 11 + 12),
        (MIXED, (12_400, 1, 1, 2), 8, 6 + 1 + 2 * (8 + 2)),
        (MIXED, (50_000, 1, 1, 1), 1, 6 + 10 + 2),
    ],
)
def test_batches(coder: int, shape: tuple[int, int, int, int], bits: int, batches: int) -> None:
    happened: list[Batch] = []
    told: list[Batch] = []

    class Coded:
        grouped = coder == MIXED

        def __init__(self, *_: object) -> None: ...

        def code(self, coder: object, view: View, symbols: object) -> NDArray[np.int64]:
            happened.append((view.labels[view.rows].tolist(), view.channel, view.row, view.column))
            return np.full(len(view.labels[view.rows]), len(happened) % 2)

    class Read:
        def __init__(self, *_: object) -> None: ...

        def batch(
            self, _: object, x: NDArray[np.int64], labels: NDArray[np.int64], *where: int
        ) -> NDArray[np.int64]:
            told.append((labels.tolist(), *where))
            return np.full(len(x), len(told) % 2)

    counts = [shape[0] // 3, 0, 1, shape[0] - shape[0] // 3 - 1]
    with mock.patch.dict(CODERS, {coder: ("", Coded)}), mock.patch.dict(reader_stream.CODERS, {coder: Read}):
        grid = code_grid(RangeReader(b""), coder, 1 << bits, shape, labels=np.repeat(np.arange(4), counts))
        read = reader_stream.read_grid(b"", coder, 1 << bits, shape, counts)
    assert told == happened
    assert len(told) == batches
    assert np.array_equal(read, grid)


@pytest.mark.parametrize(
    ("coder", "side", "factor", "work"),
    [
        (1, 80, 1, 6400 * (1000 + 1)),
        (1, 640, 8, 6400 * (1000 + 1)),  # interpolation does not count
        (MIXED, 14, 1, 196 * 8 * (3000 + 30)),
    ],
)
def test_streams_have_a_least_length(coder: int, side: int, factor: int, work: int) -> None:
    spec = make_spec((1, side, side), 1)
    data = TensorData(spec, torch.full((1, 1, side, side), 7), torch.zeros(1).long())
    sent = make_set(data, 1, 3, factor)
    blob = written(sent, coder)
    stream = message_of(blob).stream
    assert len(stream) == -(-(work - 2**22) // 2**13)
    assert stream.endswith(b"\0")
    assert_reads_the_same(blob, sent)
    shorter = message_of(blob)
    shorter.stream = stream[:-1]
    for read in (decode, reader.read):
        with pytest.raises((FormatError, ValueError)):
            read(packed(shorter))


@settings(max_examples=300)
@given(
    shape=st.tuples(st.integers(1, 1 << 22), *[st.integers(1, 1 << 12)] * 3),
    bits=st.integers(1, 8),
    coder=st.sampled_from(sorted(reader.CODERS)),
)
def test_work(shape: tuple[int, int, int, int], bits: int, coder: int) -> None:
    assert reader_stream.work(shape, 1 << bits, coder) == coding_work(shape, 1 << bits, coder)


class Script:
    """Decodes bits that are none of an encoder's, and remembers them and their weights."""

    def __init__(self, share: float) -> None:
        self._rng, self._share = np.random.default_rng(0), share
        self.bits: list[int] = []
        self.left: list[list[int]] = []

    def code(self, symbols: None, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        bits = (self._rng.random(len(weights)) < self._share).astype(np.int64)
        self.bits += bits.tolist()
        self.left += [reader_stream.left_cumulatives(row) for row in weights]
        return bits


@pytest.mark.parametrize("share", [0.4, 0.8])
@pytest.mark.parametrize(
    ("shape", "bits"), [((40, 1, 3, 3), 8), ((9, 4, 4, 3), 8), ((9, 3, 3, 4), 5), ((9, 2, 4, 4), 2)]
)
def test_the_mixed_coder_reads_what_no_encoder_writes(
    shape: tuple[int, int, int, int], bits: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [shape[0] // 3, 0, shape[0] - shape[0] // 3]
    script = Script(share)
    read = code_grid(script, MIXED, 1 << bits, shape, labels=np.repeat(np.arange(3), counts))
    happened = iter(zip(script.bits, script.left, strict=True))

    class Scripted:
        def __init__(self, stream: bytes) -> None: ...

        def decode(self, left: list[int]) -> int:
            bit, expected = next(happened)
            assert left == expected
            return bit

    monkeypatch.setattr(reader_stream, "RangeDecoder", Scripted)
    assert np.array_equal(reader_stream.read_grid(b"", MIXED, 1 << bits, shape, counts), read)
    assert next(happened, None) is None


def test_the_tables_of_the_mixed_coder_are_those_of_the_document() -> None:
    tables = (reader_mixing.G, reader_mixing.Q, reader_mixing.BUCKET)
    assert hashlib.sha256(b"".join(t.astype("<i8").tobytes() for t in tables)).hexdigest() in DOCUMENT


def rounded(a: int, b: int) -> Fraction:
    """Section 5.6: what binary64 makes of a / b."""
    e = 53 - a.bit_length() + b.bit_length()
    if (a << max(e, 0)) >= (b << max(-e, 0)) << 53:
        e -= 1
    value = Fraction(a, b) * Fraction(2) ** e
    assert 2**52 <= value < 2**53
    return round(value) / Fraction(2) ** e


def rooted(m: int) -> Fraction:
    k = next(k for k in range(60) if math.isqrt(m << 2 * k).bit_length() == 54)
    return (math.isqrt(m << 2 * k) + 1) // 2 / Fraction(2) ** (k - 1)


@settings(max_examples=300)
@given(
    st.integers(1, 1 << 45) | st.integers(1, 1 << 18).map(lambda g: g << 27),
    st.integers(131, 655),
    st.integers(1, 1 << 14) | st.integers(1, 1 << 7).map(lambda root: root**2),
)
def test_integers_do_what_binary64_does(g: int, rate: int, m: int) -> None:
    root = rooted(m)
    assert float(root) == np.sqrt(np.float64(m))
    product = rounded(g * rate, 1)
    quotient = product / root
    change = rounded(quotient.numerator, quotient.denominator)
    floats = np.array([g, -g], np.float64) * rate / np.sqrt(np.float64(m))
    assert floats.tolist() == [float(change), -float(change)]
    assert np.floor(floats / 2**28).tolist() == [change // 2**28, -change // 2**28]


# The range coder of section 5 is constriction's.


def encoded(symbols: list[int], weights: NDArray[np.int64]) -> bytes:
    """Section 5.4, with carries left to Python's integers."""
    lower, size, words = 0, 2**64 - 1, 1
    for symbol, row in zip(symbols, weights, strict=True):
        left, scale = reader_stream.left_cumulatives(row), size >> 24
        lower += scale * left[symbol]
        size = scale * (left[symbol + 1] - left[symbol])
        if size < 2**32:
            lower, size, words = lower << 32, size << 32, words + 1
    numbers = (lower + 2**32 - 1) >> 32
    found = [numbers >> 32 * (words - 1 - word) & (2**32 - 1) for word in range(words)]
    return struct.pack(f"<{words}I", *found).rstrip(b"\0")


def some_weights(rng: np.random.Generator, count: int, levels: int) -> NDArray[np.int64]:
    """Rows from nearly even to nearly certain."""
    share = rng.dirichlet(np.full(levels, 10.0 ** rng.uniform(-2, 1)), count)
    return np.maximum(1, (2**20 * share).astype(np.int64))


@pytest.mark.parametrize("seed", range(30))
def test_range_coder(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, levels = int(rng.integers(1, 200)), int(rng.integers(2, 257))
    weights = some_weights(rng, count, levels)
    likely = rng.random(count) < 0.8
    symbols = np.where(likely, weights.argmax(axis=1), rng.integers(0, levels, count)).tolist()
    stream = constricted(symbols, weights)
    assert encoded(symbols, weights) == stream
    assert range_decoded(stream, weights) == symbols
    for other in (b"", rng.bytes(8), rng.bytes(400), b"\xff" * 8, b"\xff" * 7 + rng.bytes(90), b"\xff" * 400):
        assert range_decoded(other, weights) == constriction_decoded(other, weights)


def constriction_decoded(stream: bytes, weights: NDArray[np.int64]) -> list[int] | None:
    words = np.frombuffer(stream + bytes(-len(stream) % 4), "<u4").astype(np.uint32)
    try:
        return list(constriction.stream.queue.RangeDecoder(words).decode(FAMILY, weights.astype(np.float64)))
    except AssertionError:
        return None
