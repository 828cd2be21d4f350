"""Coding of tables of symbols ``[epochs, samples, columns]``, such as compressed labels of views.

Epoch after epoch and column by column, the symbols of all samples are one batch under statistics gathered
from the batches before it (the first ones grow by doubling, as in :mod:`fedbits.coding.grid`). Samples come
in an order in which all classes are met early. A symbol is predicted by its column, the class of the sample
and of the one it is mixed with, the columns before it, and what the same sample had in the epoch before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.adaptive import AdaptiveModel, uniform_prior
from fedbits.coding.grid import interleaved, least_stream
from fedbits.coding.range_coder import Meter, SymbolCoder, Symbols
from fedbits.coding.tree import LARGEST_TABLE, SymbolTree, hashed

Table = NDArray[np.uint16]  # [epochs, samples, columns]
_BATCH_WEIGHTS = 1 << 20  # probabilities of one batch; part of the wire format, as it cuts the batches
_LARGEST_BATCH = 1 << 14
_MOST_COUNTERS = 1 << 22  # of all columns: beyond, classes share theirs
_MOST_WORK = 1 << 29  # of a table for which mixed contexts are tried: about a minute
_COLUMN_NUMBERS = 144  # what the objects of a counted column take besides its counts
# What a batch and a symbol cost, in units of some 100 ns.
_COUNTED_WORK, _TREE_BATCH, _TREE_BIT, _TREE_SYMBOL, _TREE_SYMBOL_BIT = 1000, 1600, 1000, 25, 20


@dataclass(frozen=True)
class Rows:
    """What both sides know of the rows of an epoch.

    Attributes:
        classes: ``[samples]``, of each sample.
        count: of classes that there are.
        mixed: ``[epochs, samples]``, the class of the sample that each is mixed with (its own where none is).
    """

    classes: Symbols
    count: int
    mixed: Symbols


class _Column(Protocol):
    """Probabilities of the symbols in one column."""

    def code(self, coder: SymbolCoder, seen: _Seen, symbols: Symbols | None) -> Symbols: ...


@dataclass(frozen=True)
class _Seen:
    """What is known of some rows when a column of them is coded."""

    column: int
    classes: Symbols
    mixed: Symbols
    rows: Symbols
    west: Symbols  # of the column before; 0 for the first
    west_west: Symbols
    before: Symbols  # of the same sample and column, an epoch before; 0 in the first


class _Counted:
    """Frequencies of the symbols of a column, by the class of the sample."""

    def __init__(self, levels: int, classes: int) -> None:
        self._model = AdaptiveModel(uniform_prior(levels), (1, classes) if classes > 1 else (1,))

    def code(self, coder: SymbolCoder, seen: _Seen, symbols: Symbols | None) -> Symbols:
        if len(self._model.prior) == 1:
            return np.zeros_like(seen.classes)  # there is nothing to be told
        contexts = [np.zeros_like(seen.classes), seen.classes][: len(self._model.sizes)]
        coded = coder.code(symbols, self._model.weights(contexts, len(seen.classes)))
        self._model.update(contexts, coded)
        return coded


class _Mixed:
    """Opinions of many contexts, mixed; all columns of as many levels share one."""

    def __init__(self, levels: int, symbols: int) -> None:
        self._tree = SymbolTree(len(_contexts(_NOTHING)), levels, symbols)

    def code(self, coder: SymbolCoder, seen: _Seen, symbols: Symbols | None) -> Symbols:
        return self._tree.code(coder, hashed(_contexts(seen), 0), symbols)


def _contexts(seen: _Seen) -> list[Symbols]:
    column = np.full_like(seen.classes, seen.column)
    pair = seen.classes << 20 | seen.mixed
    return [
        column,
        seen.classes << 12 | column,
        pair << 12 | column,
        seen.rows << 12 | column,
        seen.before << 12 | column,
        seen.before << 32 | seen.classes << 12 | column,
        seen.west << 12 | column,
        seen.west << 32 | seen.classes << 12 | column,
        seen.west << 24 | seen.west_west << 12 | column,
        seen.west << 24 | seen.before << 12 | column,
        seen.west << 32 | seen.rows << 12 | column,
    ]


_EMPTY = np.zeros(0, np.int64)
_NOTHING = _Seen(0, *(_EMPTY,) * 6)


def code_table(
    coder: SymbolCoder,
    mixed: bool,
    levels: Sequence[int],
    rows: Rows,
    table: Table | None = None,
) -> Table:
    """Write, measure or (``table`` left out) read a table of ``levels[c]`` symbols in column c, 1 to 2**16.

    ``mixed``: under mixed contexts, which takes fewer bytes and some ten times as long, or by frequencies.
    """
    epochs, samples = rows.mixed.shape
    found = np.zeros((epochs, samples, len(levels)), np.uint16) if table is None else table
    models = _models(mixed, levels, rows.count, epochs * samples)
    order = interleaved(rows.classes)
    for epoch, column, start, stop in _schedule(epochs, samples, levels):
        part = order[start:stop]
        known = None if table is None else table[epoch, part, column].astype(np.int64)
        found[epoch, part, column] = models[column].code(
            coder, _seen(found, rows, epoch, column, part), known
        )
    return found


def _models(mixed: bool, levels: Sequence[int], classes: int, rows: int) -> list[_Column]:
    if not mixed:
        told_apart = _told_apart(levels, classes)
        return [_Counted(size, told_apart) for size in levels]
    trees = {size: _Mixed(size, rows * levels.count(size)) for size in set(levels)}
    return [trees[size] for size in levels]


def _told_apart(levels: Sequence[int], classes: int) -> int:
    """Classes whose frequencies are counted."""
    return classes if sum(levels) * classes <= _MOST_COUNTERS else 1


def table_counters(mixed: bool, levels: Sequence[int], classes: int) -> int:
    """Numbers of 8 bytes that :func:`code_table` keeps besides the table, at most."""
    if mixed:
        return len(set(levels)) * len(_contexts(_NOTHING)) << LARGEST_TABLE
    counters = (sum(levels) + len(levels)) * (1 + _told_apart(levels, classes))
    return counters + _COLUMN_NUMBERS * len(levels) + 3 * _BATCH_WEIGHTS


def _seen(table: Table, rows: Rows, epoch: int, column: int, part: Symbols) -> _Seen:
    def at(epoch: int, column: int) -> Symbols:
        if epoch < 0 or column < 0:
            return np.zeros(len(part), np.int64)
        return table[epoch, part, column].astype(np.int64)

    return _Seen(
        column,
        rows.classes[part],
        rows.mixed[epoch, part],
        part,
        at(epoch, column - 1),
        at(epoch, column - 2),
        at(epoch - 1, column),
    )


def _schedule(epochs: int, samples: int, levels: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """Epoch, column and a range of samples in the order in which they are coded, batch by batch."""
    done = 0
    for epoch in range(epochs):
        for column, size in enumerate(levels):
            start = 0
            while start < samples:
                stop = min(samples, start + min(max(1, done), _largest_batch(size)))
                yield epoch, column, start, stop
                done += stop - start
                start = stop


def _largest_batch(levels: int) -> int:
    return min(_BATCH_WEIGHTS // levels, _LARGEST_BATCH)


def table_work(mixed: bool, levels: Sequence[int], epochs: int, samples: int) -> int:
    """What :func:`code_table` costs at most, in the unit of :func:`fedbits.coding.coding_work`."""
    work = samples.bit_length() * _batch_work(mixed, levels[0])  # the first batches, which double
    for size, times in Counter(levels).items():
        batches = epochs * -(-samples // _largest_batch(size))
        work += times * (batches * _batch_work(mixed, size) + epochs * samples * _symbol_work(mixed, size))
    return work


def _batch_work(mixed: bool, levels: int) -> int:
    return _TREE_BATCH + _TREE_BIT * (levels - 1).bit_length() if mixed else _COUNTED_WORK


def _symbol_work(mixed: bool, levels: int) -> int:
    return _TREE_SYMBOL + _TREE_SYMBOL_BIT * (levels - 1).bit_length() if mixed else 4 + levels // 8


def smallest_table(levels: Sequence[int], rows: Rows, table: Table, more_work: int = 0) -> tuple[bool, float]:
    """Whether ``table`` takes fewer bits under mixed contexts, and how many it takes.

    ``more_work``: what else its stream has to have bytes for.
    """
    bits = {}
    for mixed in (False, True):
        work = table_work(mixed, levels, *table.shape[:2])
        if not mixed or work <= _MOST_WORK:
            meter = Meter()
            code_table(meter, mixed, levels, rows, table)
            bits[mixed] = max(meter.bits, 8.0 * least_stream(work + more_work))
    best = min(bits, key=lambda mixed: bits[mixed])
    return best, bits[best]
