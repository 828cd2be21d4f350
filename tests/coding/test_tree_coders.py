"""Coders of unordered symbols and of sparse grids: exact, near the entropy, safe, as the document says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from golden import reader_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbits.coding import Meter, RangeReader, RangeWriter, code_grid, smallest_coder
from fedbits.coding.range_coder import SymbolCoder
from fedbits.coding.tree import SymbolTree, hashed
from fedbits.errors import FormatError

INDICES, SPARSE = 6, 7
Shape = tuple[int, int, int, int]

SIDES = st.tuples(st.integers(0, 70), st.integers(1, 4), st.integers(0, 4), st.integers(0, 5))
LEVELS = st.sampled_from([1, 2, 3, 4, 5, 16, 100, 256])


def made(shape: Shape, levels: int, share: float, seed: int) -> np.ndarray:
    """Noise, of which about ``share`` is replaced by one symbol."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, levels, shape)
    return np.where(rng.random(shape) < share, rng.integers(0, levels), noise)


def metered(number: int, levels: int, symbols: np.ndarray, labels: np.ndarray | None = None) -> float:
    meter = Meter()
    code_grid(meter, number, levels, symbols.shape, symbols, labels)
    return meter.bits


def classes(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("number", [INDICES, SPARSE])
@settings(max_examples=40)
@given(shape=SIDES, levels=LEVELS, share=st.sampled_from([0, 0.5, 0.95, 1]), seed=st.integers(0, 99))
def test_any_grid_comes_back(number: int, shape: Shape, levels: int, share: float, seed: int) -> None:
    symbols = made(shape, levels, share, seed)
    labels = np.sort(np.random.default_rng(seed).integers(0, 4, shape[0]))
    writer = RangeWriter()
    code_grid(writer, number, levels, shape, symbols, labels)
    read = code_grid(RangeReader(writer.bytes()), number, levels, shape, labels=labels)
    assert np.array_equal(read, symbols)
    assert len(writer.bytes()) <= 1.001 * metered(number, levels, symbols, labels) / 8 + 4


@pytest.mark.parametrize("number", [INDICES, SPARSE])
@settings(max_examples=40)
@given(stream=st.binary(max_size=200), levels=LEVELS, shape=SIDES)
def test_any_bytes_give_symbols_in_range(number: int, stream: bytes, levels: int, shape: Shape) -> None:
    try:
        symbols = code_grid(RangeReader(stream), number, levels, shape)
    except FormatError:
        return
    assert symbols.shape == shape
    assert not symbols.size or symbols.max() < levels


class Ones(SymbolCoder):
    """Decodes nothing but ones."""

    def code(self, symbols: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
        return np.ones(len(weights), np.int64)


@pytest.mark.parametrize("number", [INDICES, SPARSE])
@pytest.mark.parametrize("levels", [2, 3, 100, 256])
def test_codes_that_no_encoder_writes_give_symbols_in_range(number: int, levels: int) -> None:
    assert code_grid(Ones(), number, levels, (50, 2, 2, 2)).max() < levels


# Real indices depend on the position, and on each other without an order.


def chains(n: int, levels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve columns: each symbol is, nine times of ten, a fixed and arbitrary image of the one before."""
    rng = np.random.default_rng(seed)
    image = rng.permutation(levels)
    x = rng.integers(0, levels, (n, 1, 1, 12))
    for column in range(1, 12):
        follows = rng.random(n) < 0.9
        x[follows, 0, 0, column] = image[x[follows, 0, 0, column - 1]]
    return x, np.zeros(n, np.int64)


def positions(n: int, levels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every position of every class has two symbols of its own."""
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, levels, (5, 1, 1, 12, 2))
    labels = classes([n // 5] * 5)
    which = rng.integers(0, 2, (n, 1, 1, 12, 1))
    return np.take_along_axis(pairs[labels], which, 4)[..., 0], labels


@pytest.mark.parametrize(("make", "entropy"), [(chains, 0.95), (positions, 1.0)])
@pytest.mark.parametrize("levels", [64, 256])
def test_indices_cost_less_than_by_frequencies_and_by_neighbours(
    make: object, entropy: float, levels: int
) -> None:
    symbols, labels = make(250 if make is positions else 500, levels, 0)  # type: ignore[operator]
    bits = metered(INDICES, levels, symbols, labels)
    others = [metered(number, levels, symbols, labels) for number in (1, 2, 3)]
    assert bits < 0.8 * min(others)
    if levels == 64:
        assert smallest_coder(symbols, levels, labels) == (INDICES, pytest.approx(bits))
    assert bits > entropy * symbols.size  # it cannot be less


def test_noise_costs_hardly_more_than_its_frequencies() -> None:
    """Few samples of many levels: what cannot be learnt must not cost much."""
    for levels in (16, 256):
        for n in (50, 500):
            symbols = made((n, 1, 1, 10), levels, 0, 0)
            assert metered(INDICES, levels, symbols) < 1.03 * symbols.size * math.log2(levels)


def test_a_second_channel_of_indices_that_follows_the_first_costs_little() -> None:
    first = made((200, 1, 2, 4), 64, 0, 0)
    both = np.concatenate([first, np.random.default_rng(0).permutation(64)[first]], axis=1)
    assert metered(INDICES, 64, both) < 1.5 * metered(INDICES, 64, first)


def coordinates(n: int, usual: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """10 of 256 places set to random values of 4 bits, and the bits of these coordinates and values."""
    rng = np.random.default_rng(seed)
    x = np.full((n, 256), usual)
    for row in x:
        row[rng.choice(256, 10, replace=False)] = (usual + rng.integers(1, 16, 10)) % 16
    return x.reshape(n, 1, 16, 16), n * (math.log2(math.comb(256, 10)) + 10 * math.log2(15))


@pytest.mark.parametrize(("n", "overhead"), [(10, 0.1), (100, 0.06), (300, 0.05)])
def test_sparse_grids_cost_little_more_than_their_coordinates(n: int, overhead: float) -> None:
    """Places without any pattern, the hardest for a coder that looks for one."""
    for usual in (0, 8) if n < 100 else (8,):
        symbols, ideal = coordinates(n, usual)
        assert metered(SPARSE, 16, symbols) < (1 + overhead) * ideal


def test_places_and_values_that_have_a_pattern_cost_less_than_coordinates() -> None:
    rng = np.random.default_rng(0)
    likely = 0.3 * np.exp(-np.arange(16)[:, None] / 2 - np.arange(16) / 2)
    there = rng.random((200, 1, 16, 16)) < likely
    symbols = np.where(there, np.where(rng.random(there.shape) < 0.9, 9, 7), 8)
    counts = there.reshape(200, -1).sum(axis=1)
    coordinates = sum(math.log2(math.comb(256, int(count))) for count in counts)
    bits = metered(SPARSE, 16, symbols)
    assert bits < 0.97 * (coordinates + 0.47 * counts.sum())
    assert bits < min(metered(number, 16, symbols) for number in (1, 2, 3, INDICES))


@pytest.mark.parametrize("number", [INDICES, SPARSE])
def test_one_symbol_everywhere_costs_next_to_nothing(number: int) -> None:
    assert metered(number, 256, np.full((100, 1, 10, 10), 77)) < 8 * 45


def test_a_tree_of_one_symbol_asks_nothing() -> None:
    hashes = hashed([np.arange(5), np.zeros(5, np.int64)], 0)
    meter = Meter()
    assert SymbolTree(2, 1, 0).code(meter, hashes, np.zeros(5, np.int64)).tolist() == [0] * 5
    assert meter.bits == 0


def test_contexts_of_different_kinds_and_channels_have_different_hashes() -> None:
    values = [np.arange(300), np.arange(300)]
    hashes = np.concatenate([hashed(values, channel) for channel in range(32)])
    assert len(np.unique(hashes)) == hashes.size
    assert np.array_equal(hashed(values, 31), hashed(values, 4000))


# The independent reader, written from docs/format.md.


@pytest.mark.parametrize("number", [INDICES, SPARSE])
@settings(max_examples=25)
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=4).filter(any),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
    bits=st.integers(1, 8),
    share=st.sampled_from([0, 0.5, 0.95]),
)
def test_the_independent_reader_reads_the_same(
    number: int, counts: list[int], sides: tuple[int, int, int], bits: int, share: float
) -> None:
    shape = (sum(counts), *sides)
    symbols = made(shape, 1 << bits, share, 0)
    writer = RangeWriter()
    code_grid(writer, number, 1 << bits, shape, symbols, classes(counts))
    read = reader_stream.read_grid(writer.bytes(), number, 1 << bits, shape, counts)
    assert np.array_equal(read, symbols)


@pytest.mark.parametrize("number", [INDICES, SPARSE])
@pytest.mark.parametrize("shape", [(120, 33, 1, 1), (3, 1, 20, 18), (1, 2, 1, 300), (70, 1, 1, 1)])
def test_the_independent_reader_reads_large_sides(number: int, shape: Shape) -> None:
    """Channels beyond 31, cells of several positions, distances beyond what is told apart."""
    symbols, counts = made(shape, 16, 0.4, 1), [shape[0] - shape[0] // 3, shape[0] // 3]
    writer = RangeWriter()
    code_grid(writer, number, 16, shape, symbols, classes(counts))
    assert np.array_equal(reader_stream.read_grid(writer.bytes(), number, 16, shape, counts), symbols)


@pytest.mark.parametrize("number", [INDICES, SPARSE])
def test_the_independent_reader_reads_what_no_encoder_writes(number: int) -> None:
    rng = np.random.default_rng(0)
    for shape in ((40, 2, 2, 3), (1, 1, 1, 200)):
        stream = b"\0\0\0\x40" + rng.bytes(4000)
        try:
            read = code_grid(RangeReader(stream), number, 256, shape)
        except FormatError:
            with pytest.raises(ValueError):
                reader_stream.read_grid(stream, number, 256, shape, [shape[0]])
        else:
            assert np.array_equal(reader_stream.read_grid(stream, number, 256, shape, [shape[0]]), read)
