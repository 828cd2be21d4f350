"""Coding of integer grids ``[n, channels, height, width]``, one position of all samples at a time.

Positions go in raster order, channels innermost. All samples' symbols at a position are coded as one batch
under statistics gathered from the batches before it, so that decoding needs no loop over symbols. A batch is
never larger than what has been coded so far (the first ones grow by doubling): statistics are learnt from a
few symbols before many are spent on them. Nor is it ever so large that its probabilities take much memory.

Coders that learn from other samples of the same class take the samples in groups that double: the first group
is coded whole before the second begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.counted import MedianEdge, Neighbours, OrderZero, Raw
from fedbits.coding.mixed import Mixed
from fedbits.coding.range_coder import Meter, SymbolCoder
from fedbits.coding.view import MARGIN, GridShape, Symbols, View

BATCH_WEIGHTS = 1 << 20  # probabilities of one batch; part of the wire format, as it cuts the batches
_FIRST_GROUP = 32  # samples
_MIXED_BATCH = 1 << 14  # symbols of one batch: more could overflow what the mixer counts in int16
_MOST_WORK = 1 << 29  # to decode a grid for which the mixed coder is tried: about 10 s
# What a batch and a symbol cost besides probabilities, in the time of one: some 100 ns. Mixing takes several
# decisions for a batch, and for a symbol.
_BATCH_WORK, _SYMBOL_WORK = 1000, 8
_MIXED_BATCH_WORK, _MIXED_SYMBOL_WORK = 3000, 30
# Work that a stream of no bytes may ask for, and what each of its bytes adds: no small blob asks for much.
_FREE_WORK, _WORK_PER_BYTE = 1 << 22, 1 << 14


class GridModel(Protocol):
    """Probabilities of the symbols at one position, from what is already known of the grid."""

    grouped: ClassVar[bool]

    def __init__(self, shape: GridShape, levels: int) -> None: ...

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols: ...


# The number of a coder is part of the wire format: never reuse or renumber one.
CODERS: dict[int, tuple[str, type[GridModel]]] = {
    0: ("raw", Raw),
    1: ("order-0", OrderZero),
    2: ("neighbours", Neighbours),
    3: ("median-edge", MedianEdge),
    4: ("mixed", Mixed),
}
_SLOW = 4


def code_grid(
    coder: SymbolCoder,
    number: int,
    levels: int,
    shape: GridShape,
    symbols: NDArray[np.int64] | None = None,
    labels: Symbols | None = None,
) -> NDArray[np.uint8]:
    """Write, measure or (``symbols`` left out) read a grid ``[n, channels, height, width]``.

    ``labels`` ``[n]`` are the classes of the samples, in ascending order; left out, all are of one.
    """
    n, channels, height, width = shape
    grid = np.zeros((n, channels, height + MARGIN, width + 2 * MARGIN), np.uint8)
    model_class = CODERS[number][1]
    model = model_class(shape, levels)
    order = np.arange(n)
    known_labels = np.zeros(n, np.int64) if labels is None else labels
    if model_class.grouped:
        order = _interleaved(known_labels)
        known_labels = known_labels[order]
        symbols = None if symbols is None else symbols[order]
    for rows, row, column, channel in _schedule(shape, levels, model_class.grouped):
        view = View(grid, known_labels, rows, channel, row, column)
        known = None if symbols is None else symbols[rows, channel, row, column]
        grid[rows, channel, row + MARGIN, column + MARGIN] = model.code(coder, view, known)
    inner = grid[:, :, MARGIN:, MARGIN:-MARGIN]
    return inner[np.argsort(order)] if model_class.grouped else inner


def coding_work(shape: GridShape, levels: int, number: int) -> int:
    """What :func:`code_grid` costs at most, in the time that one probability takes: some 100 ns."""
    n, positions = shape[0], shape[1] * shape[2] * shape[3]
    batches = -(-n * levels // BATCH_WEIGHTS)
    if number != _SLOW:
        return positions * (_BATCH_WORK * batches + n * (_SYMBOL_WORK + levels))
    batches = max(batches, -(-n // _MIXED_BATCH)) + ((n - 1) // _FIRST_GROUP).bit_length()
    decisions = min(levels, 8) + 2 * (levels.bit_length() - 4 if levels > 8 else 0)
    return positions * decisions * (_MIXED_BATCH_WORK * batches + _MIXED_SYMBOL_WORK * n)


def least_stream(work: int) -> int:
    """Bytes that a stream has at least if reading it takes ``work``; a shorter one is padded with zeros."""
    return max(0, -(-(work - _FREE_WORK) // _WORK_PER_BYTE))


def _interleaved(labels: Symbols) -> Symbols:
    """The order that takes the first sample of each class, then the second of each, and so on."""
    rank = np.arange(len(labels)) - np.searchsorted(labels, labels)
    return np.lexsort((labels, rank))


def _groups(n: int, grouped: bool) -> Iterator[tuple[int, int]]:
    """Ranges of samples; each but the first has as many as all before it."""
    start, stop = 0, min(n, _FIRST_GROUP) if grouped else n
    while start < n:
        yield start, stop
        start, stop = stop, min(n, 2 * stop)


def _schedule(shape: GridShape, levels: int, grouped: bool) -> Iterator[tuple[slice, int, int, int]]:
    n, channels, height, width = shape
    largest, done = BATCH_WEIGHTS // levels, 0
    if grouped:
        largest = min(largest, _MIXED_BATCH)
    for first, last in _groups(n, grouped):
        for row in range(height):
            for column in range(width):
                for channel in range(channels):
                    start = first
                    while start < last:
                        stop = min(last, start + min(max(1, done), largest))
                        yield slice(start, stop), row, column, channel
                        done += stop - start
                        start = stop


def smallest_coder(
    symbols: NDArray[np.int64], levels: int, labels: Symbols | None = None, quick: bool = False
) -> tuple[int, float]:
    """The coder that spends the fewest bits on a grid, and how many; ``quick`` tries only fast ones."""
    best = (0, symbols.size * float(np.log2(levels)))
    for number in CODERS:
        if number == 0 or (CODERS[number][1] is MedianEdge and levels <= 4):
            continue  # raw is known without trying; residuals of so few levels lose to counts
        work = coding_work((*symbols.shape,), levels, number)
        least = 8.0 * least_stream(work)
        if (number == _SLOW and (quick or work > _MOST_WORK)) or least >= best[1]:
            continue
        meter = Meter()
        code_grid(meter, number, levels, (*symbols.shape,), symbols, labels)
        if max(meter.bits, least) < best[1]:
            best = (number, max(meter.bits, least))
    return best
