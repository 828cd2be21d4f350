"""Tables of symbols: both coders bring them back, learn what can be learnt, and cost what they declare."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbits.coding import columns
from fedbits.coding.columns import (
    Rows,
    Table,
    code_table,
    smallest_table,
    table_counters,
    table_work,
)
from fedbits.coding.grid import least_stream
from fedbits.coding.range_coder import Meter, RangeReader, RangeWriter, SymbolCoder, Symbols, Weights

CODERS = pytest.mark.parametrize("mixed", [False, True])
WORD = 32


def make_rows(epochs: int, samples: int, classes: int, seed: int = 0) -> Rows:
    draws = np.random.default_rng(seed)
    labels = np.sort(draws.integers(0, classes, samples))
    return Rows(labels, classes, labels[draws.integers(0, samples, (epochs, samples))])


def drawn(rows: Rows, levels: Sequence[int], seed: int = 0) -> Table:
    draws = np.random.default_rng(seed)
    parts = [draws.integers(0, size, rows.mixed.shape, np.uint16) for size in levels]
    return np.stack(parts, axis=2) if parts else np.zeros((*rows.mixed.shape, 0), np.uint16)


def bits(mixed: bool, levels: Sequence[int], rows: Rows, table: Table) -> float:
    meter = Meter()
    code_table(meter, mixed, levels, rows, table)
    return meter.bits


def assert_comes_back(mixed: bool, levels: Sequence[int], rows: Rows, table: Table) -> None:
    writer = RangeWriter()
    assert code_table(writer, mixed, levels, rows, table) is table
    stream = writer.bytes()
    read = code_table(RangeReader(stream), mixed, levels, rows)
    assert read.dtype == np.uint16 and np.array_equal(read, table)
    # 24-bit probabilities, and weights that leave every symbol one of them, lose next to nothing.
    assert 8 * len(stream) <= bits(mixed, levels, rows, table) * 1.002 + 2 * WORD
    assert 8 * len(stream) >= bits(mixed, levels, rows, table) * 0.998 - 2 * WORD


@CODERS
@settings(max_examples=25)
@given(
    levels=st.lists(st.sampled_from([1, 2, 3, 5, 16, 17, 256, 4096]), max_size=5),
    epochs=st.integers(1, 4),
    samples=st.one_of(st.integers(1, 4), st.integers(5, 70)),
    classes=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_tables_come_back(
    mixed: bool, levels: list[int], epochs: int, samples: int, classes: int, seed: int
) -> None:
    rows = make_rows(epochs, samples, classes, seed)
    assert_comes_back(mixed, levels, rows, drawn(rows, levels, seed))


@CODERS
@pytest.mark.parametrize("size", [1 << 12, 40_000, 1 << 16])
def test_columns_of_many_symbols(mixed: bool, size: int) -> None:
    """Up to as many as two bytes hold."""
    rows = make_rows(2, 30, 2)
    table = drawn(rows, [size, 2, size])
    table[0, 0, 0], table[1, -1, -1] = size - 1, size - 1
    assert_comes_back(mixed, [size, 2, size], rows, table)


@CODERS
def test_columns_of_one_symbol_cost_nothing(mixed: bool) -> None:
    rows = make_rows(3, 9, 2)
    assert bits(mixed, [1, 1], rows, drawn(rows, [1, 1])) == 0
    assert not code_table(RangeReader(b""), mixed, [1, 1], rows).any()


@CODERS
def test_a_stream_of_nothing_is_read(mixed: bool) -> None:
    """As it may be where a blob was made by hand: whatever it is, its symbols exist."""
    rows, levels = make_rows(2, 9, 3), [2, 3, 300]
    for stream in (b"", bytes(9), b"\x12\x34\x56"):
        table = code_table(RangeReader(stream), mixed, levels, rows)
        assert (table < np.array(levels)).all()


@CODERS
def test_what_others_had_is_learnt(mixed: bool) -> None:
    """Symbols that follow from the class alone cost little after the first epoch."""
    rows, levels = make_rows(6, 200, 5), [16, 8]
    table = np.stack([rows.classes * 3 % 16, rows.classes % 8], 1)[None].repeat(6, 0).astype(np.uint16)
    first = bits(mixed, levels, Rows(rows.classes, 5, rows.mixed[:1]), table[:1])
    declared = 7 * 200
    assert first < 1.05 * declared
    assert bits(mixed, levels, rows, table) - first < 5 * declared / 10


@pytest.mark.parametrize("what", ["partner", "epoch before", "column before", "sample"])
def test_mixed_contexts_learn_what_frequencies_do_not(what: str) -> None:
    rows, levels = make_rows(8, 300, 6), [16, 16]
    draws = np.random.default_rng(0)
    table = draws.integers(0, 16, (8, 300, 2), dtype=np.uint16)
    if what == "partner":
        table[:] = ((5 * rows.classes + 7 * rows.mixed) % 16)[:, :, None]
    elif what == "column before":
        table[:, :, 1] = (3 * table[:, :, 0] + 1) % 16
    else:  # the same in every epoch; or it changes at random within a sample's own pair of symbols
        pairs = draws.integers(0, 16, (300, 2, 2), dtype=np.uint16)
        which = draws.integers(0, 2, (8, 300, 2)) if what == "sample" else np.zeros((8, 300, 2), np.int64)
        table = np.take_along_axis(pairs[None], which[..., None], 3)[..., 0]
    counted, mixed = bits(False, levels, rows, table), bits(True, levels, rows, table)
    assert (
        mixed < {"partner": 0.5, "epoch before": 0.4, "column before": 0.75, "sample": 0.75}[what] * counted
    )
    assert smallest_table(levels, rows, table) == (True, mixed)


class _Batches:
    """Notes how large batches are."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def code(self, symbols: Symbols | None, weights: Weights) -> Symbols:
        assert weights.min() >= 1
        self.sizes.append(weights.shape)
        return np.zeros(len(weights), np.int64) if symbols is None else symbols


def batches(levels: Sequence[int], rows: Rows) -> list[tuple[int, int]]:
    coder = _Batches()
    known: SymbolCoder = coder
    code_table(known, False, levels, rows)
    return coder.sizes


def test_batches_double_and_end() -> None:
    sizes = batches([4, 4], make_rows(2, 21, 3))
    assert [size for size, _ in sizes] == [1, 1, 2, 4, 8, 5, 21, 21, 21]
    sizes = batches([4096], make_rows(1, 600, 1))
    assert [size for size, _ in sizes] == [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 88]
    assert max(size for size, _ in batches([2], make_rows(1, 40_000, 1))) == 1 << 14


@CODERS
@settings(max_examples=25)
@given(
    levels=st.lists(st.sampled_from([2, 3, 16, 4096, 1 << 16]), min_size=1, max_size=4),
    epochs=st.integers(1, 3),
    samples=st.sampled_from([1, 2, 9, 100, 700]),
)
def test_work_counts_batches_and_symbols(mixed: bool, levels: list[int], epochs: int, samples: int) -> None:
    """Section 8 of docs/format.md; by the batches that there are, it is no less than they cost."""
    rows = make_rows(epochs, samples, 2)
    schedule = list(columns._schedule(epochs, samples, levels))
    least = 0
    for _, column, start, stop in schedule:
        depth = (levels[column] - 1).bit_length()
        batch, symbol = (1600 + 1000 * depth, 25 + 20 * depth) if mixed else (1000, 4 + levels[column] // 8)
        least += batch + symbol * (stop - start)
    work = table_work(mixed, levels, epochs, samples)
    first = 1600 + 1000 * (levels[0] - 1).bit_length() if mixed else 1000
    assert least <= work <= least + samples.bit_length() * first
    assert sum(stop - start for *_, start, stop in schedule) == rows.mixed.size * len(levels)


def test_many_columns_take_time_in_proportion() -> None:
    """To add all columns up for each of them took minutes."""
    calls = mock.Mock(wraps=columns._told_apart)
    rows = make_rows(1, 1, 3)
    with mock.patch.object(columns, "_told_apart", calls):
        code_table(_Batches(), False, [2] * 300, rows)
    assert calls.call_count == 1


def test_classes_share_frequencies_where_there_would_be_too_many() -> None:
    few, many = table_counters(False, [256] * 4, 4096), table_counters(False, [256] * 4, 4097)
    assert few > many > 3 << 20
    rows = Rows(np.arange(4097), 4097, np.arange(4097)[None])
    table = drawn(rows, [256] * 4)
    assert_comes_back(False, [256] * 4, rows, table)


def test_a_table_that_mixing_would_take_long_for_is_counted() -> None:
    rows, levels = make_rows(6, 100, 3), [16]
    table = np.tile(drawn(make_rows(1, 100, 3), levels), (6, 1, 1))
    assert smallest_table(levels, rows, table)[0]
    with mock.patch.object(columns, "_MOST_WORK", 1000):
        best, spent = smallest_table(levels, rows, table)
    assert not best and spent == bits(False, levels, rows, table)


def test_bits_of_a_table_that_takes_much_work_are_those_of_its_padding() -> None:
    rows, levels = make_rows(1, 40, 1), [2]
    table = np.zeros((1, 40, 1), np.uint16)
    more = 1 << 24
    _, spent = smallest_table(levels, rows, table, more)
    assert (
        spent == 8 * least_stream(table_work(False, levels, 1, 40) + more) > bits(False, levels, rows, table)
    )
