"""docs/format.md on ways to store samples: what fedbits writes, the independent reader decodes."""

from __future__ import annotations

import pytest
import torch
from documented import DOCUMENT, assert_reads_the_same, written
from golden import reader
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_data, make_set, make_spec, message_of, packed
from storing import as_floats, even, in_bands, on_grid, powers, taught

from fedbits import decode, encode
from fedbits.data import TensorData
from fedbits.errors import FormatError
from fedbits.quantization.powers import additive_powers


@settings(max_examples=40)
@given(
    shape=st.sampled_from([(1, 8, 8), (3, 4, 5), (2, 7, 5), (9,), (1,)]),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any),
    bits=st.integers(1, 8),
    factor=st.sampled_from([1, 2, 4, 8]),
    shared=st.booleans(),
    origin=st.floats(-2, 2),
    step=st.floats(2**-9, 1),
)
def test_fresh_blobs_of_powers(
    shape: tuple[int, ...],
    counts: list[int],
    bits: int,
    factor: int,
    shared: bool,
    origin: float,
    step: float,
) -> None:
    channels = 1 if shared or len(shape) == 1 else shape[0]
    grid = powers(bits, [origin] * channels, [step] * channels)
    sent = on_grid(make_data(shape, counts), grid, 4, factor)
    assert_reads_the_same(written(sent, 2), sent)


@settings(max_examples=20)
@given(
    shape=st.sampled_from([(1, 8, 8), (3, 4, 5), (9,), (1,)]),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any),
    rate=st.none() | st.floats(0, 1e6, width=32, exclude_min=True),
    seed=st.integers(0, 9),
)
def test_fresh_blobs_of_floats_and_soft_labels(
    shape: tuple[int, ...], counts: list[int], rate: float | None, seed: int
) -> None:
    data = make_data(shape, counts, seed, "float32")
    for sent in (as_floats(data, 4), make_set(data, 4)):
        assert_reads_the_same(encode(taught(sent, rate, seed), quick=True), taught(sent, rate, seed))


@settings(max_examples=40)
@given(
    shape=st.sampled_from([(1, 8, 8), (3, 4, 5), (2, 7, 5), (1, 1, 4), (2, 20, 3)]),
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(any),
    bits=st.integers(1, 8),
    factor=st.sampled_from([1, 2, 4, 8]),
    shared=st.booleans(),
    of_powers=st.booleans(),
    band=st.integers(1, 30),
    steps=st.tuples(st.floats(2**-9, 1), st.floats(2**-9, 1)),
)
def test_fresh_blobs_of_coefficients(
    shape: tuple[int, ...],
    counts: list[int],
    bits: int,
    factor: int,
    shared: bool,
    of_powers: bool,
    band: int,
    steps: tuple[float, float],
) -> None:
    pairs = 1 if shared else shape[0]
    low, high = ((powers if of_powers else even)(bits, [0.25] * pairs, [step] * pairs) for step in steps)
    band = min(band, -(-shape[1] // factor) - (-shape[2] // factor) - 1)
    sent = in_bands(make_data(shape, counts), low, high, band, 4, factor)
    assert_reads_the_same(written(sent, 2), sent)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("factor", [1, 8])
def test_extreme_coefficients(sign: int, factor: int) -> None:
    """Beyond what fixed-point numbers hold: they are clipped."""
    data = make_data((1, 16, 9), [2, 1])
    grids = (powers(8, [0], [60000]), powers(8, [sign * 65504], [65504]))
    sent = in_bands(data, *grids, 1, 2, factor)
    sent.parameterization.stored.data *= sign * 1e9
    blob = written(sent, 1)
    assert float(decode(blob).samples.abs().max()) > 2**14
    assert_reads_the_same(blob)


def test_inverting_transforms_is_work() -> None:
    """Padded streams have a byte for each 2^13 units of it."""
    data = TensorData(make_spec((1, 256, 256), 1), torch.zeros(1, 1, 256, 256), torch.zeros(1).long())
    sent = in_bands(data, even(1, [0], [1]), even(1, [0], [1]), 9)
    blob = written(sent, 1)
    work = 256 * 256 * (1000 + 1 + 1 + 512 // 64)
    assert len(message_of(blob).stream) == -(-(work - 2**22) // 2**13)
    assert_reads_the_same(blob, sent)
    shorter = message_of(blob)
    shorter.stream = shorter.stream[:-1]
    for read in (decode, reader.read):
        with pytest.raises((FormatError, ValueError)):
            read(packed(shorter))


def test_the_table_of_powers_is_that_of_the_document() -> None:
    for bits, sets in reader.POWERS.items():
        cells = [", ".join(map(str, sorted(one))) for one in sets]
        assert f"| {bits} | {' · '.join(cells)} |" in DOCUMENT
        assert reader.multiples(1, bits).tolist() == list(additive_powers(bits))
    assert reader.multiples(1, 1).tolist() == list(additive_powers(1))


def test_padded_floats() -> None:
    """So many bytes of so few values that only their work has a price."""
    data = TensorData(make_spec((1, 30, 30), 1), torch.zeros(1, 1, 30, 30), torch.zeros(1).long())
    sent = as_floats(data)
    sent.parameterization.stored.data.zero_()
    blob = encode(sent)
    work = 3600 * (1000 + 1 * 17)
    least = max(0, -(-(work - 2**22) // 2**13))
    assert len(message_of(blob).stream) == least
    assert_reads_the_same(blob, sent)
