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
from fedbits.coding.indices import Indices
from fedbits.coding.mixed import Mixed
from fedbits.coding.network import EntropyNetwork
from fedbits.coding.neural import Neural
from fedbits.coding.own import OwnNetwork
from fedbits.coding.range_coder import Meter, SymbolCoder
from fedbits.coding.sparse import Sparse
from fedbits.coding.view import MARGIN, GridShape, Symbols, View

BATCH_WEIGHTS = 1 << 20  # probabilities of one batch; part of the wire format, as it cuts the batches
_FIRST_GROUP = 32  # samples
_MIXED_BATCH = 1 << 14  # symbols of one batch: more could overflow what the mixer counts in int16
_MOST_WORK = 1 << 29  # to decode a grid for which a slow coder is tried: about 10 s
# What a batch and a symbol cost besides probabilities, in the time of one: some 100 ns. Mixing takes several
# decisions for a batch, and for a symbol.
_BATCH_WORK = 1000
_MIXED_BATCH_WORK, _MIXED_SYMBOL_WORK = 3000, 30
_NEURAL_BATCH_WORK, _NEURAL_SYMBOL_WORK = 2000, 30
OWN_WORK = 11_500_000  # of the largest network that travels: see fedbits.coding.weights.weights_work
_TREE_WORK = {6: (1500, 1000, 20, 30), 7: (1600, 750, 20, 10)}  # batch, each bit of it; symbol, each bit
# Work that a stream of no bytes may ask for, and what each of its bytes adds: no small blob asks for much.
_FREE_WORK, _WORK_PER_BYTE = 1 << 22, 1 << 13


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
    5: ("network", Neural),
    6: ("indices", Indices),
    7: ("sparse", Sparse),
    8: ("own network", OwnNetwork),
}
OWN = 8
_NEURAL = (5, OWN)
_SLOW = (4, 6, 7)  # these mix contexts, decision by decision
_USUAL = 2 / 3  # share of one symbol from which the coder of sparse grids is tried
_UNLIKE_IMAGES = 0.75  # of the bits that frequencies take: where a network for images needs more, try indices


def code_grid(
    coder: SymbolCoder,
    number: int,
    levels: int,
    shape: GridShape,
    symbols: NDArray[np.int64] | None = None,
    labels: Symbols | None = None,
    network: EntropyNetwork | None = None,
) -> NDArray[np.uint8]:
    """Write, measure or (``symbols`` left out) read a grid ``[n, channels, height, width]``.

    ``labels`` ``[n]`` are the classes of the samples, in ascending order; left out, all are of one.
    ``network`` is what the coder of own networks writes ahead of the symbols.
    """
    n, channels, height, width = shape
    grid = np.zeros((n, channels, height + MARGIN, width + 2 * MARGIN), np.uint8)
    model_class = CODERS[number][1]
    model = model_class(shape, levels)
    if isinstance(model, OwnNetwork):
        model.open(coder, network)
    order = np.arange(n)
    known_labels = np.zeros(n, np.int64) if labels is None else labels
    if model_class.grouped:
        order = interleaved(known_labels)
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
    if number in _NEURAL:
        return _neural_work(shape, levels, number, batches)
    if number not in _SLOW:
        per_symbol = 1 + levels // 16 if number < 2 else 4 + levels // 8
        return positions * (_BATCH_WORK * batches + n * per_symbol)
    batches = max(batches, -(-n // _MIXED_BATCH)) + ((n - 1) // _FIRST_GROUP).bit_length()
    if number in _TREE_WORK:
        batch, batch_bit, symbol, symbol_bit = _TREE_WORK[number]
        bits = (levels - 1).bit_length()
        return positions * (batches * (batch + batch_bit * bits) + n * (symbol + symbol_bit * bits))
    decisions = min(levels, 8) + 2 * (levels.bit_length() - 4 if levels > 8 else 0)
    return positions * decisions * (_MIXED_BATCH_WORK * batches + _MIXED_SYMBOL_WORK * n)


def _neural_work(shape: GridShape, levels: int, number: int, batches: int) -> int:
    edges = min(levels, 32)  # of the groups of symbols that are told apart
    per_batch, per_symbol = 200 * edges + _NEURAL_BATCH_WORK, edges + _NEURAL_SYMBOL_WORK
    own = OWN_WORK if number == OWN else 0
    return own + shape[1] * shape[2] * shape[3] * (per_batch * batches + per_symbol * shape[0])


def least_stream(work: int) -> int:
    """Bytes that a stream has at least if reading it takes ``work``; a shorter one is padded with zeros."""
    return max(0, -(-(work - _FREE_WORK) // _WORK_PER_BYTE))


def interleaved(labels: Symbols) -> Symbols:
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
    symbols: NDArray[np.int64],
    levels: int,
    labels: Symbols | None = None,
    quick: bool = False,
    network: EntropyNetwork | None = None,
) -> tuple[int, float]:
    """The coder that spends the fewest bits on a grid, and how many.

    ``quick`` tries only fast ones; ``network``: one that may be sent along.
    """
    shape: GridShape = (*symbols.shape,)
    sizes = {0: symbols.size * float(np.log2(levels))}
    for number in CODERS:
        work = coding_work(shape, levels, number)
        least = 8.0 * least_stream(work)
        slow = number in _SLOW and (quick or work > _MOST_WORK)
        lost = number in sizes or least >= min(sizes.values()) or (number == OWN and network is None)
        if slow or lost or not _promises(number, symbols, levels, sizes):
            continue
        meter = Meter()
        code_grid(meter, number, levels, shape, symbols, labels, network)
        sizes[number] = max(meter.bits, least)
    best = min(sizes, key=lambda number: sizes[number])
    return best, sizes[best]


def too_large_to_mix(shape: GridShape, levels: int) -> bool:
    """Whether the mixed coder, which learns a set by itself, is not tried for its slowness."""
    return coding_work(shape, levels, 4) > _MOST_WORK


def _promises(number: int, symbols: NDArray[np.int64], levels: int, sizes: dict[int, float]) -> bool:
    """Whether a coder may win, given what those before it need."""
    if number == 3:
        return levels > 4  # residuals of so few levels lose to counts
    if number == 6 and 1 in sizes and 5 in sizes:
        return sizes[5] > _UNLIKE_IMAGES * sizes[1]
    if number == 7:
        return bool(np.bincount(symbols.ravel()).max() >= _USUAL * symbols.size)
    return True
