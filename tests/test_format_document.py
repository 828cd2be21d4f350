"""docs/format.md suffices to write a decoder: one written from it alone reads what fedbits writes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from documented import (
    COUNTING,
    DOCUMENT,
    GOLDEN,
    MIXED,
    assert_reads_the_same,
    constricted,
    fenced,
    range_decoded,
    written,
)
from fresh import in_fresh_process
from golden import reader, reader_mixing, reader_stream
from hostile import CORRUPT, STARVED
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_data, make_set, message_of, packed, small_blob
from numpy.typing import NDArray

from fedbits import decode
from fedbits.container import DecodeLimits
from fedbits.data import TensorData
from fedbits.data.known import KNOWN
from fedbits.errors import FormatError, LimitError

BLOB = written(make_set(make_data((2, 3, 4), [2, 1, 2])), 2)


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


# The examples of the document.


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
