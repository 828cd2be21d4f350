"""Weights of networks: the same integers back, near the Laplace's ideal or below it, safe with any bytes."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from fresh import in_fresh_process
from golden import reader_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbits.coding import Meter, RangeReader, RangeWriter, weights
from fedbits.coding.weights import (
    LARGEST,
    QuantisedTensor,
    code_weights,
    decode_weights,
    encode_weights,
    fraction_bits_for,
    laplace_bits,
    quantise,
    scales,
    weight_bits,
    weights_work,
)
from fedbits.errors import FormatError, LimitError

SHAPES = st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), max_size=3)


def laplace(shape: tuple[int, ...], scale: float, seed: int = 0) -> QuantisedTensor:
    values = np.random.default_rng(seed).laplace(scale=scale, size=shape)
    return quantise(values, 0)


def ideal(tensor: QuantisedTensor) -> float:
    """Bits under the best Laplace of any scale."""
    return float(laplace_bits(tensor.values, np.geomspace(2**-6, 2**14, 500)).min())


@settings(max_examples=30)
@given(
    shapes=SHAPES,
    size=st.sampled_from([0.01, 0.4, 3, 100, 1e5, 3e8]),
    bits=st.integers(-16, 47),
    seed=st.integers(0, 99),
)
def test_any_tensors_come_back(shapes: list[tuple[int, ...]], size: float, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sent = [
        QuantisedTensor(np.rint(np.clip(rng.standard_cauchy(s) * size, -LARGEST, LARGEST)).astype(int), bits)
        for s in shapes
    ]
    stream = encode_weights(sent)
    received = decode_weights(stream, shapes)
    for before, after in zip(sent, received, strict=True):
        assert np.array_equal(before.values, after.values)
        assert before.values.shape == after.values.shape
        assert before.fraction_bits == after.fraction_bits
    assert len(stream) <= 1.001 * weight_bits(sent) / 8 + 4


@pytest.mark.parametrize("value", [0, 1, -1, LARGEST, -LARGEST])
def test_extreme_values_come_back(value: int) -> None:
    for shape in ((), (1,), (40, 3)):
        sent = QuantisedTensor(np.full(shape, value), 8)
        (received,) = decode_weights(encode_weights([sent]), [shape])
        assert np.array_equal(received.values, sent.values)


@settings(max_examples=30)
@given(stream=st.binary(max_size=300), shapes=SHAPES)
def test_any_bytes_give_weights_or_a_format_error(stream: bytes, shapes: list[tuple[int, ...]]) -> None:
    try:
        received = decode_weights(stream, shapes)
    except FormatError:
        return
    for tensor, shape in zip(received, shapes, strict=True):
        assert tensor.values.shape == shape
        assert not tensor.values.size or abs(tensor.values).max() <= LARGEST
        assert np.isfinite(tensor.floats()).all()


def test_no_memory_is_taken_for_shapes_that_are_too_large() -> None:
    for shapes in ([(1 << 40, 1 << 40)], [(1 << 25,)], [(1 << 23,)] * 3, [()] * 20 + [(1,) * (1 << 24)]):
        with pytest.raises(LimitError, match="more than"):
            decode_weights(b"", shapes)
    with pytest.raises(LimitError):
        decode_weights(b"", [(10,)], parameters=10)
    assert decode_weights(b"", [(1 << 40, 0)])[0].values.size == 0


@pytest.mark.parametrize("scale", [0.2, 1, 7.3, 200, 4000])
@pytest.mark.parametrize("count", [30, 1000, 40_000])
def test_weights_of_a_laplace_cost_little_over_its_ideal(count: int, scale: float) -> None:
    tensor = laplace((count // 10, 10), scale)
    header = 13  # the step, the scale, and whether it pays to count
    assert weight_bits([tensor]) < 1.004 * ideal(tensor) + header + 10


def test_outliers_cost_what_their_length_does() -> None:
    tensor = laplace((50, 40), 1)
    outliers = tensor.values.copy()
    outliers[7, 7], outliers[20, 3], outliers[30, 30] = 900, -60_000, 1 << 30
    more = weight_bits([QuantisedTensor(outliers, 0)]) - weight_bits([tensor])
    assert more < 2 * (10 + 16 + 31) * 8
    assert weight_bits([QuantisedTensor(outliers, 0)]) < 0.8 * ideal(QuantisedTensor(outliers, 0))


@pytest.mark.parametrize("kind", ["uniform", "columns", "sparse", "few"])
def test_what_is_no_laplace_costs_less_than_one(kind: str) -> None:
    rng = np.random.default_rng(0)
    values = {
        "uniform": rng.integers(-20, 21, (60, 50)),
        "columns": np.rint(rng.standard_normal((60, 50)) * 2.0 ** rng.integers(-1, 6, 50)),
        "sparse": np.where(rng.random((60, 50)) < 0.05, rng.integers(-40, 41, (60, 50)), 0),
        "few": rng.choice([-8, 8], (60, 50)),
    }
    shares = {"uniform": 0.97, "columns": 0.85, "sparse": 0.7, "few": 0.45}
    tensor = QuantisedTensor(values[kind].astype(np.int64), 0)
    assert weight_bits([tensor]) < shares[kind] * ideal(tensor)


def test_known_steps_are_not_coded() -> None:
    sent = [laplace((5, 4), 9), laplace((3,), 2)]
    shapes, bits = [(5, 4), (3,)], [10, 18]
    writer, meter = RangeWriter(), Meter()
    code_weights(writer, shapes, sent, bits)
    code_weights(meter, shapes, sent, bits)
    assert meter.bits == pytest.approx(weight_bits(sent) - 12)
    received = code_weights(RangeReader(writer.bytes()), shapes, fraction_bits=bits)
    assert [tensor.fraction_bits for tensor in received] == bits
    assert all(np.array_equal(a.values, b.values) for a, b in zip(sent, received, strict=True))


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), max_size=30),
    st.integers(-16, 20),
)
def test_quantising_rounds_to_the_nearest_step(numbers: list[float], bits: int) -> None:
    tensor = np.array(numbers, np.float32)
    quantised = quantise(tensor, bits)
    assert np.all(abs(quantised.floats() - tensor) <= 2.0 ** -(bits + 1))
    again = quantise(quantised.floats(), bits)
    assert np.array_equal(again.values, quantised.values)


@pytest.mark.parametrize("precision", [0.3, 0.02, 1e-4])
@pytest.mark.parametrize("size", [1e-3, 0.05, 40])
def test_the_step_for_a_precision_is_the_largest(precision: float, size: float) -> None:
    tensor = np.random.default_rng(0).normal(scale=size, size=4000).astype(np.float32)
    bits = fraction_bits_for(tensor, precision)

    def error(bits: int) -> float:
        off = quantise(tensor, bits).floats() - tensor
        return float(np.sqrt(np.mean(off**2) / np.mean(tensor.astype(float) ** 2)))

    assert error(bits) < 1.02 * precision
    assert error(bits - 1) > 0.98 * min(precision, 0.5)


def test_wrong_weights_are_refused() -> None:
    for bad in (math.nan, math.inf, 3e9):
        with pytest.raises(ValueError, match="not finite, or too large"):
            quantise(np.array([0, bad]), 0)
    for bits in (-17, 48):
        with pytest.raises(ValueError, match="fractional bits"):
            quantise(np.zeros(2), bits)
    with pytest.raises(ValueError, match="another shape"):
        code_weights(Meter(), [(3,)], [QuantisedTensor(np.zeros(2, np.int64), 0)])
    with pytest.raises(ValueError, match="too large"):
        encode_weights([QuantisedTensor(np.array([1 << 31]), 0)])
    for tensor, precision in ((np.array([math.nan]), 0.1), (np.ones(3), 0.0)):
        with pytest.raises(ValueError, match="precision"):
            fraction_bits_for(tensor, precision)
    assert fraction_bits_for(np.zeros(3), 0.1) == fraction_bits_for(np.zeros(0), 0.1) == 0


def test_work_grows_with_the_weights() -> None:
    assert weights_work([]) == weights_work([(0,)]) - 500 == 0
    assert weights_work([(10,)]) < weights_work([(5, 20)]) < weights_work([(100, 20)])
    assert weights_work([(1000, 1000)]) > 100 * 1_000_000
    assert weights_work([(1000, 1000)]) < 200 * 1_000_000


# The tables are the same integers under any mathematical library.


def test_no_table_entry_depends_on_the_last_digits_of_a_function() -> None:
    """Rounding to an integer cannot differ where no value is near a half."""
    for scale in scales():
        rate, places = 1 / float(scale), range(30)
        exact = [math.exp(-rate / 2), 16 * float(scale) / 2**20]
        exact += [math.exp(-rate * 2**n) for n in places]
        exact += [1 / (1 + math.exp(min(99, rate * 2**n))) for n in places]
        for value in exact:
            steps = value * 2**20
            assert abs(steps - math.floor(steps) - 0.5) > 1e-8


def test_the_tables_are_what_they_were() -> None:
    """Weights decode only with these."""
    tables = (weights._OTHER, weights._LONGER, weights._ONE)
    digest = hashlib.sha256(b"".join(table.astype("<i8").tobytes() for table in tables)).hexdigest()
    assert digest == "a44d3c60c984be144b7694dd0dfc906db582483146e9484eda3b5ebc3b2701eb"
    assert all(table.min() > 0 and table.max() < weights.SCALE for table in tables)


def test_the_bytes_do_not_depend_on_threads() -> None:
    code = """
import hashlib
import numpy as np
from fedbits.coding.weights import encode_weights, quantise
rng = np.random.default_rng(0)
sent = [quantise(rng.normal(size=shape), 6) for shape in ((40, 30), (30,), (8, 4, 3, 3))]
print(hashlib.sha256(encode_weights(sent)).hexdigest())
"""
    first, second = (in_fresh_process(code, threads) for threads in (1, 2))
    assert first == second


# A reader written from docs/format.md, section 6.21.


def read_weights(stream: bytes, shapes: list[tuple[int, ...]]) -> list[tuple[list[int], int]]:
    decoder = reader_stream.RangeDecoder(stream)

    def uniform(levels: int) -> int:
        return decoder.decode(reader_stream.left_cumulatives(np.ones(levels, np.int64)))

    found = []
    for shape in shapes:
        fraction_bits = uniform(64) - 16
        found.append((read_tensor(decoder, uniform, shape, uniform(64), uniform(2)), fraction_bits))
    return found


def read_tensor(
    decoder: reader_stream.RangeDecoder,
    uniform: Callable[[int], int],
    shape: tuple[int, ...],
    s: int,
    m: int,
) -> list[int]:
    b, size, values = 2 ** ((s - 12) / 4), math.prod(shape), list[int]()
    columns = size // shape[0] if len(shape) > 1 and size else max(1, size)
    counts: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0, 0])
    q = max(1, round(16 * b))

    def mean(earlier: list[int]) -> int:
        return (2 * q + 16 * sum(min(abs(v), 2**15 - 1) for v in earlier)) // (2 + len(earlier))

    while len(values) < size:
        start = len(values)
        places = range(start, min(size, start + max(1, min(start // 8, 2**18))))
        level = {}
        for i in places:
            rows, column = i // columns * columns, i % columns
            means = mean(values[rows:start][:columns]), mean(values[column:start:columns])
            level[i] = min(79, sum((one * one).bit_length() for one in means))

        def bits(n: int, z: int, share: float, who: list[int]) -> dict[int, int]:
            prior, read = round(2**20 * share), {}
            for i in who:
                p = [2**20 - prior, prior]
                for context in [(n, z), (n, z, level[i])] if m and n - z <= 2 else []:  # noqa: B023
                    seen = counts[context]
                    p = [(2**20 * c + 16 * old) // (sum(seen) + 16) for c, old in zip(seen, p, strict=True)]
                read[i] = decoder.decode(reader_stream.left_cumulatives(np.array(p) + 1))
            for i, bit in read.items():
                counts[n, z][bit] += 1
                counts[n, z, level[i]][bit] += 1  # noqa: B023
            return read

        others = bits(-1, 0, math.exp(-1 / (2 * b)), list(places))
        who = [i for i in places if others[i]]
        signs, magnitudes = {i: 1 - 2 * uniform(2) for i in who}, dict.fromkeys(places, 0)
        for n in range(31):
            longer = {}
            if n < 30:
                longer = bits(n, n, max(2**-8, math.exp(-(2**n) / b)), who)
            ending = [i for i in who if not longer.get(i)]
            magnitudes.update(dict.fromkeys(ending, 1))
            for z in reversed(range(n)):
                share = max(2**-6, 1 / (1 + math.exp(min(99, 2**z / b))))
                for i, bit in bits(n, z, share, ending).items():
                    magnitudes[i] = 2 * magnitudes[i] + bit
            who = [i for i in who if longer.get(i)]
        values += [magnitudes[i] * signs.get(i, 1) for i in places]
    return values


@pytest.mark.parametrize("scale", [0.3, 20, 3e6])
def test_a_reader_written_from_the_document_reads_the_same(scale: float) -> None:
    rng = np.random.default_rng(0)
    shapes = [(), (3,), (0, 2), (20, 17), (5, 2, 3, 3), (60,)]
    sent = [
        QuantisedTensor(np.rint(rng.standard_cauchy(shape) * scale).clip(-LARGEST, LARGEST).astype(int), k)
        for k, shape in enumerate(shapes)
    ]
    stream = encode_weights(sent)
    read = read_weights(stream, shapes)
    assert read == [(tensor.values.ravel().tolist(), tensor.fraction_bits) for tensor in sent]
