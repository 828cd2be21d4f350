"""Coders of symbol grids: exact, near the ideal, the same everywhere, and safe with any bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from fresh import in_fresh_process, make_grid, make_network
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbits.coding import (
    CODERS,
    Meter,
    RangeReader,
    RangeWriter,
    code_grid,
    coding_work,
    smallest_coder,
)
from fedbits.coding import grid as grids
from fedbits.coding.adaptive import AdaptiveModel, residual_prior, uniform_prior
from fedbits.coding.grid import OWN, OWN_WORK
from fedbits.errors import FormatError

NUMBERS = sorted(CODERS)
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
LEVELS = st.sampled_from([2, 3, 4, 8, 16, 100, 256])


def written(number: int, levels: int, symbols: np.ndarray, labels: np.ndarray | None = None) -> bytes:
    writer = RangeWriter()
    network = make_network(symbols.shape[1]) if number == OWN else None
    code_grid(writer, number, levels, symbols.shape, symbols, labels, network)
    return writer.bytes()


def metered(number: int, levels: int, symbols: np.ndarray, labels: np.ndarray | None = None) -> float:
    meter = Meter()
    network = make_network(symbols.shape[1]) if number == OWN else None
    code_grid(meter, number, levels, symbols.shape, symbols, labels, network)
    return meter.bits


@pytest.mark.parametrize("number", NUMBERS)
@settings(max_examples=40)
@given(shape=SHAPES, levels=LEVELS, smooth=st.booleans(), seed=st.integers(0, 99))
def test_any_grid_comes_back(
    number: int, shape: tuple[int, int, int, int], levels: int, smooth: bool, seed: int
) -> None:
    symbols = make_grid(shape, levels, smooth, seed)
    labels = np.sort(np.random.default_rng(seed).integers(0, 4, shape[0]))
    stream = written(number, levels, symbols, labels)
    read = code_grid(RangeReader(stream), number, levels, shape, labels=labels)
    assert np.array_equal(read, symbols)
    ideal = metered(number, levels, symbols, labels) / 8
    assert len(stream) <= 1.001 * ideal + 4


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("value", [0, 255])
def test_extreme_grids_come_back(number: int, value: int) -> None:
    symbols = np.full((3, 3, 5, 5), value, np.int64)
    symbols[1] = 255 - value
    stream = written(number, 256, symbols)
    assert np.array_equal(code_grid(RangeReader(stream), number, 256, symbols.shape), symbols)


@pytest.mark.parametrize("levels", [4, 8, 16, 256])
def test_what_learns_beats_packed_bits_on_smooth_content(levels: int) -> None:
    symbols = make_grid((20, 1, 8, 8), levels, True, 0)
    raw, order_zero, neighbours, median_edge, mixed = (metered(n, levels, symbols) for n in range(5))
    assert raw == pytest.approx(symbols.size * np.log2(levels))
    assert levels == 256 or order_zero < raw  # as many levels are too many to learn from so few symbols
    assert max(min(neighbours, median_edge), mixed) < min(raw, order_zero)


def test_a_second_channel_that_follows_the_first_costs_little() -> None:
    first = make_grid((30, 1, 8, 8), 16, True, 0)
    both = np.concatenate([first, first], axis=1)
    assert metered(2, 16, both) < 1.4 * metered(2, 16, first)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("levels", [2, 4, 16, 256])
def test_the_smallest_coder_is_the_smallest(levels: int, smooth: bool) -> None:
    symbols = make_grid((10, 2, 6, 6), levels, smooth, 1)
    number, bits = smallest_coder(symbols, levels)
    assert bits == pytest.approx(metered(number, levels, symbols))
    tried = [0, 1, 2, 4, 5] + [3] * (levels > 4)
    assert bits <= min(metered(n, levels, symbols) for n in tried) + 1e-6


def test_what_samples_of_a_class_share_is_coded_once() -> None:
    """Where every sample is its class's pattern, mixing needs far fewer bits if it knows the classes."""
    patterns = make_grid((5, 1, 8, 8), 4, False, 0)
    labels = np.repeat(np.arange(5), 40)
    known, unknown = (metered(4, 4, patterns[labels], given) for given in (labels, None))
    assert known < 0.7 * unknown
    assert known < 0.5 * metered(2, 4, patterns[labels])


def test_quick_choices_leave_out_the_mixed_coder() -> None:
    symbols = make_grid((50, 1, 8, 8), 4, True, 0)
    assert smallest_coder(symbols, 4)[0] == 4
    number, bits = smallest_coder(symbols, 4, quick=True)
    assert number in (1, 2, 5)
    assert bits == pytest.approx(metered(number, 4, symbols))


def test_noise_is_best_left_raw() -> None:
    assert smallest_coder(make_grid((2, 1, 4, 4), 256, False, 0), 256)[0] == 0


@pytest.mark.parametrize("number", NUMBERS)
@settings(max_examples=60)
@given(stream=st.binary(max_size=60), levels=LEVELS, shape=SHAPES)
def test_any_bytes_give_symbols_or_a_format_error(
    number: int, stream: bytes, levels: int, shape: tuple[int, int, int, int]
) -> None:
    try:
        symbols = code_grid(RangeReader(stream), number, levels, shape)
    except FormatError:
        return
    assert symbols.shape == shape
    assert 0 <= symbols.min() <= symbols.max() < levels


def test_large_batches_are_cut_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch needs more than so many probabilities, however many samples there are."""
    monkeypatch.setattr(grids, "BATCH_WEIGHTS", 64)
    sizes = []
    original = AdaptiveModel.weights

    def weights(self: AdaptiveModel, contexts: list, batch: int) -> np.ndarray:
        sizes.append(batch * len(self.prior))
        return original(self, contexts, batch)

    monkeypatch.setattr(AdaptiveModel, "weights", weights)
    symbols = make_grid((37, 1, 3, 3), 8, True, 0)
    stream = written(2, 8, symbols)
    assert np.array_equal(code_grid(RangeReader(stream), 2, 8, symbols.shape), symbols)
    assert max(sizes) == 64


def test_work_counts_batches_and_probabilities() -> None:
    for number in NUMBERS:
        start = OWN_WORK if number == OWN else 0
        one = coding_work((1, 1, 1, 1), 2, number) - start
        assert coding_work((1, 3, 5, 7), 2, number) - start == 105 * one
        assert one < coding_work((10, 1, 1, 1), 2, number) - start < 10 * one
        assert coding_work((1 << 24, 1, 1, 1), 256, number) > 1 << 28


def test_the_bytes_do_not_depend_on_threads() -> None:
    code = """
import hashlib
from fresh import make_grid, make_network
from fedbits.coding import CODERS, RangeWriter, code_grid
digest = hashlib.sha256()
for number in CODERS:
    for levels in (2, 8, 256):
        writer = RangeWriter()
        symbols = make_grid((50, 3, 6, 6), levels, True, 0)
        code_grid(writer, number, levels, symbols.shape, symbols, network=make_network(3))
        digest.update(writer.bytes())
print(digest.hexdigest())
"""
    digest = hashlib.sha256()
    for number in NUMBERS:
        for levels in (2, 8, 256):
            digest.update(written(number, levels, make_grid((50, 3, 6, 6), levels, True, 0)))
    assert [in_fresh_process(code, threads) for threads in (1, 2)] == [digest.hexdigest()] * 2


def test_priors() -> None:
    for levels in (2, 4, 256):
        assert uniform_prior(levels).min() > 0
        residual = residual_prior(levels)
        assert residual.min() > 0
        assert residual.argmax() == 0
        assert np.array_equal(residual[1:], residual[1:][::-1])


def test_counts_win_over_the_prior() -> None:
    model = AdaptiveModel(uniform_prior(4), (1, 2))
    contexts = [np.zeros(100, np.int64), np.ones(100, np.int64)]
    model.update(contexts, np.full(100, 3))
    seen = model.weights([np.zeros(1, np.int64), np.ones(1, np.int64)], 1)[0]
    unseen = model.weights([np.zeros(1, np.int64), np.zeros(1, np.int64)], 1)[0]
    assert seen[3] / seen.sum() > 0.98
    assert unseen[3] / unseen.sum() > 0.98  # a context that was never seen follows the shorter one
    assert seen.min() > 0


def test_meters_and_writers_need_symbols() -> None:
    for coder in (Meter(), RangeWriter()):
        with pytest.raises(ValueError, match="needs symbols"):
            code_grid(coder, 0, 4, (1, 1, 2, 2))
