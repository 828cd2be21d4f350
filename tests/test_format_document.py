"""docs/format.md suffices to write a decoder: one written from it alone reads what fedbits writes."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from fractions import Fraction
from pathlib import Path
from unittest import mock

import constriction
import numpy as np
import pytest
import torch
from fresh import in_fresh_process
from golden import reader, reader_mixing, reader_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_data, make_set, make_spec, message_of, packed, small_blob
from numpy.typing import NDArray
from test_container_hostile import CORRUPT, STARVED

from fedbits import decode, encode
from fedbits.coding import CODERS, RangeReader, code_grid, coding_work
from fedbits.coding.view import View
from fedbits.container import DecodeLimits
from fedbits.data import TensorData
from fedbits.data.known import KNOWN
from fedbits.distilled_set import DistilledSet
from fedbits.errors import FormatError, LimitError

COUNTING, MIXED = [0, 1, 2, 3], 4  # coders
GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = (Path(__file__).parent.parent / "docs" / "format.md").read_text(encoding="utf-8")


def written(distilled: DistilledSet, coder: int) -> bytes:
    """The blob of a set under a given coder."""
    with mock.patch("fedbits.parameterization.pixel.smallest_coder", lambda *_: (coder, 0.0)):
        return encode(distilled)


BLOB = written(make_set(make_data((2, 3, 4), [2, 1, 2])), 2)


def assert_reads_the_same(blob: bytes, received: DistilledSet | None = None) -> None:
    received = decode(blob) if received is None else received
    read = reader.read(blob)
    assert read.samples.dtype == np.float32
    assert read.samples.shape == tuple(received.samples.shape)
    assert read.samples.tobytes() == received.samples.numpy().tobytes()
    assert read.raw().tobytes() == received.raw().numpy().tobytes()
    assert read.counts == received.class_counts()
    assert read.recipe == received.recipe
    assert (read.learning_rate or None) == received.learning_rate
    if received.soft_labels is None:
        assert read.logits is None
    else:
        assert read.logits is not None
        assert read.logits.astype(np.float32).tolist() == received.soft_labels.logits.tolist()
    assert_same_task(read.task, received)


def assert_same_task(task: reader.Task, received: DistilledSet) -> None:
    spec = received.spec
    assert (task.name, task.shape, task.classes) == (spec.name, spec.shape, spec.classes)
    assert (task.mean.tolist(), task.std.tolist()) == (list(spec.mean), list(spec.std))
    assert task.floating == (spec.dtype == "float32")


def test_the_reader_is_independent() -> None:
    foreign = "{'fedbits', 'constriction', 'google', 'torch'}"
    code = f"import golden.reader, sys; print({foreign} & set(sys.modules))"
    assert in_fresh_process(code) == "set()"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.fbits")), ids=lambda path: path.stem)
def test_golden_blobs(path: Path) -> None:
    read = reader.read(path.read_bytes())
    digest = hashlib.sha256(read.samples.astype("<f4").tobytes() + bytes(read.counts)).hexdigest()
    assert digest == json.loads((GOLDEN / "sha256.json").read_text())[path.name]
    assert_reads_the_same(path.read_bytes())


@pytest.mark.parametrize("coder", COUNTING)
@settings(max_examples=15)
@given(
    shape=st.sampled_from([(1, 8, 8), (3, 8, 8), (2, 7, 5), (4, 3, 9), (9,), (1,), (1, 1, 4)]),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any),
    bits=st.integers(1, 8),
    factor=st.sampled_from([1, 2, 4, 8]),
    dtype=st.sampled_from(["uint8", "float32"]),
    recipe=st.sampled_from(["quadd", "herding", "my own", ""]),
)
def test_fresh_blobs(
    coder: int, shape: tuple[int, ...], counts: list[int], bits: int, factor: int, dtype: str, recipe: str
) -> None:
    sent = make_set(make_data(shape, counts, 0, dtype), 4, bits, factor, recipe)
    assert_reads_the_same(written(sent, coder), sent)


@pytest.mark.parametrize(
    ("shape", "counts", "bits", "factor"),
    [
        ((1, 4, 5), [60, 0, 22, 7], 2, 1),  # groups of 32, 32 and 25 samples
        ((3, 3, 4), [40, 1, 30], 4, 1),
        ((1, 5, 3), [2, 40, 1], 8, 1),
        ((5, 3, 3), [3, 1], 8, 1),  # channels beyond the third share what is learnt
        ((2, 7, 6), [0, 3, 2], 6, 2),
        ((3, 9, 7), [1, 2], 5, 4),
        ((1, 8, 8), [3, 2], 1, 1),
        ((30,), [30, 2, 8], 3, 2),
        ((1,), [70], 7, 1),
    ],
)
def test_fresh_blobs_of_the_mixed_coder(
    shape: tuple[int, ...], counts: list[int], bits: int, factor: int
) -> None:
    sent = make_set(make_data(shape, counts), max(counts), bits, factor)
    assert_reads_the_same(written(sent, MIXED), sent)


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


@pytest.mark.parametrize(
    ("low", "step"),
    [
        (-65504, 0.25),
        (1000, 1000 / 2**18),
        (60000, 60000 / 2**18),
        (2**-24, 65504),  # beyond what float64 interpolates exactly: section 7.5
        (3e-7, 33000),
        (0, 2**-14),
    ],
)
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_extreme_grids(low: float, step: float, factor: int) -> None:
    blob = written(make_set(make_data((2, 11, 9), [3, 2]), 3, 8, factor), 2)
    message = message_of(blob)
    message.pixel.grid = np.array([low, step, -low, step], "<f2").tobytes()
    assert_reads_the_same(packed(message))


@pytest.mark.parametrize(("low", "step"), [(1000, 1000 / 2**18), (-60000, 60000 / 2**18), (0, 2**-14)])
def test_steps_too_small(low: float, step: float) -> None:
    message = message_of(BLOB)
    smaller = np.nextafter(np.float16(step), np.float16(0))
    for second, fits in ((step, True), (smaller, False)):
        message.pixel.grid = np.array([0, 1, low, second], "<f2").tobytes()
        if fits:
            assert_reads_the_same(packed(message))
            continue
        for read in (decode, reader.read):
            with pytest.raises((FormatError, ValueError)):
                read(packed(message))


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


def test_known_tasks_are_those_of_the_document() -> None:
    assert set(reader.KNOWN) == set(KNOWN)
    for number, (name, shape, classes, words) in reader.KNOWN.items():
        halves = words.split()
        means, deviations = halves[: shape[0]], halves[shape[0] :]
        sides = ", ".join(map(str, shape))
        row = [str(number), name, sides, str(classes), " ".join(means), " ".join(deviations)]
        assert f"| {' | '.join(row)} |" in DOCUMENT
        labels = torch.arange(classes)
        samples = torch.zeros((classes, *shape), dtype=torch.uint8)
        samples[::3] = 200
        blob = written(make_set(TensorData(KNOWN[number], samples, labels), 1, 1, 8), 1)
        assert message_of(blob).known_task == number
        assert_reads_the_same(blob)


@pytest.mark.parametrize("deviation", [6e-8, 9e-5, 1e-4, 0.5])
def test_small_deviations(deviation: float) -> None:
    message = message_of(BLOB)
    message.task_described.normalisation = np.array([0.5, -2, deviation, 1], "<f2").tobytes()
    assert_reads_the_same(packed(message))


@pytest.mark.parametrize("what", [*CORRUPT, *STARVED])
def test_what_must_be_refused(what: str) -> None:
    message = message_of(small_blob())
    reader.read(packed(message))
    {**CORRUPT, **STARVED}[what](message)
    with pytest.raises(ValueError):
        reader.read(packed(message), {0} if "huge" in what else None)


def test_damage_is_refused() -> None:
    for length in range(len(BLOB)):
        with pytest.raises(ValueError):
            reader.read(BLOB[:length])
    for position in range(len(BLOB)):
        with pytest.raises(ValueError):
            reader.read(BLOB[:position] + bytes([BLOB[position] ^ 1]) + BLOB[position + 1 :])
    for other in (BLOB + b"\0", packed(BLOB[14:], version=2), packed(BLOB[14:], flags=1)):
        with pytest.raises(ValueError):
            reader.read(other)


@settings(max_examples=300)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_both_read_or_refuse_mutated_messages(edits: list[tuple[int, int, int]]) -> None:
    """Bytes of the message changed, inserted and removed under a valid checksum."""
    body = bytearray(BLOB[14:])
    for position, kind, value in edits:
        at = position % max(1, len(body))
        body[at : at + (kind != 1)] = b"" if kind == 2 else bytes([value])
    blob = packed(bytes(body))
    try:
        received = decode(blob, DecodeLimits(elements=1 << 12, work=1 << 22))
    except LimitError:
        return  # what a receiver limits is not the format's business
    except FormatError:
        with pytest.raises(ValueError):
            reader.read(blob)
    else:
        if message_of(blob).pixel.coder in reader.CODERS:
            assert_reads_the_same(blob, received)


# The range coder of section 5 is constriction's.

FAMILY = constriction.stream.model.Categorical(perfect=False)


def constricted(symbols: list[int], weights: NDArray[np.int64]) -> bytes:
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(np.array(symbols, np.int32), FAMILY, weights.astype(np.float64))
    return bytes(encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0"))


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


def range_decoded(stream: bytes, weights: NDArray[np.int64]) -> list[int] | None:
    decoder = reader_stream.RangeDecoder(stream)
    try:
        return [decoder.decode(reader_stream.left_cumulatives(row)) for row in weights]
    except ValueError:
        return None


def constriction_decoded(stream: bytes, weights: NDArray[np.int64]) -> list[int] | None:
    words = np.frombuffer(stream + bytes(-len(stream) % 4), "<u4").astype(np.uint32)
    try:
        return list(constriction.stream.queue.RangeDecoder(words).decode(FAMILY, weights.astype(np.float64)))
    except AssertionError:
        return None


# The examples of the document.


def fenced(language: str) -> list[str]:
    """The lines of the document's only block of a language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    return str(block).splitlines()


def example() -> bytes:
    blob = b""
    for line in fenced("blob"):
        offset, data = line.split(maxsplit=1)
        assert int(offset) == len(blob)
        (digits,) = re.findall(r"^((?:[0-9a-f]{2} )+) ", data)
        blob += bytes.fromhex(digits)
    return blob


def test_the_range_coders_test_vector() -> None:
    vector = dict(line.split(maxsplit=1) for line in fenced("range-coder"))
    symbols, stream = [int(s) for s in vector["symbols"]], bytes.fromhex(vector["stream"])
    weights = np.tile(np.array([5, 2, 1]), (len(symbols), 1))
    assert constricted(symbols, weights) == stream
    assert range_decoded(stream, weights) == symbols


def test_the_worked_example_decodes_to_what_the_document_says() -> None:
    samples = np.array([line.split() for line in fenced("samples")], np.float32).reshape(2, 1, 3, 3)
    received = decode(example())
    assert np.array_equal(received.samples.numpy(), samples)
    assert np.array_equal(reader.read(example()).samples, samples)
    assert received.raw().flatten()[:3].tolist() == [0, 20, 60]
    assert written(received, 2) == example()
    assert_reads_the_same(example(), received)


def test_the_worked_examples_table_is_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[tuple[list[int], list[int], int, int]] = []
    weights_to_left = reader_stream.left_cumulatives
    seen: list[list[int]] = []

    def left_cumulatives(weights: NDArray[np.int64]) -> list[int]:
        seen.append(weights.tolist())
        return weights_to_left(weights)

    class Traced(reader_stream.RangeDecoder):
        def decode(self, left: list[int]) -> int:
            quantile = self._offset // (self._range >> 24)
            symbol = super().decode(left)
            happened.append((seen[-1], left[1:-1], quantile, symbol))
            return symbol

    monkeypatch.setattr(reader_stream, "left_cumulatives", left_cumulatives)
    monkeypatch.setattr(reader_stream, "RangeDecoder", Traced)
    reader.read(example())
    rows = re.findall(r"^\| \d \| \d, \d, \d \|[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", DOCUMENT, re.M)
    told = [
        ([int(w) for w in weights.split(",")], [int(b) for b in left.split(",")], int(quantile), int(symbol))
        for weights, left, quantile, symbol in rows
    ]
    assert told == happened
    assert len(told) == 8


def test_the_worked_example_under_the_mixed_coder(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = written(decode(example()), MIXED)
    assert f"`{message_of(blob).stream.hex(' ')}`" in DOCUMENT
    steps: list[tuple[int, list[int], list[int], list[int]]] = []
    ones: list[int] = []
    decode_step, weights_to_left = reader_mixing.Mixer.decode, reader_mixing.left_cumulatives

    def left_cumulatives(weights: NDArray[np.int64]) -> list[int]:
        ones.append(int(weights[1]))
        return weights_to_left(weights)

    def traced(
        mixer: reader_mixing.Mixer, decoder: reader_stream.RangeDecoder, kind: int, *seen: NDArray[np.uint64]
    ) -> list[int]:
        bits = decode_step(mixer, decoder, kind, *seen)
        steps.append((kind, seen[1].tolist(), ones[-len(bits) :], bits))
        return bits

    monkeypatch.setattr(reader_mixing, "left_cumulatives", left_cumulatives)
    monkeypatch.setattr(reader_mixing.Mixer, "decode", traced)
    assert_reads_the_same(blob, decode(example()))
    cells = r"^\| \d \| [\d, ()]* \| (\d) \| ([\d, ]*) \| ([\d, ]*) \| ([01, ]*) \|$"
    told = [
        (int(number), *([int(one) for one in cell.split(",")] for cell in rest))
        for number, *rest in re.findall(cells, DOCUMENT, re.M)
    ]
    assert told == steps
    assert len(told) == 11
