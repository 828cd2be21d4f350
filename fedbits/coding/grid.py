"""Coding of integer grids ``[n, channels, height, width]``, one position of all samples at a time.

Positions go in raster order, channels innermost. All samples' symbols at a position are coded as one batch
under statistics gathered from the batches before it, so that decoding needs no loop over symbols. A batch is
never larger than what has been coded so far (the first ones grow by doubling): statistics are learnt from a
few symbols before many are spent on them. Nor is it ever so large that its probabilities take much memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.adaptive import AdaptiveModel, residual_prior, uniform_prior
from fedbits.coding.range_coder import Meter, SymbolCoder, Symbols

GridShape = tuple[int, int, int, int]

BATCH_WEIGHTS = 1 << 20  # probabilities of one batch; part of the wire format, as it cuts the batches
_BATCH_WORK, _SYMBOL_WORK = 1000, 8  # what a batch and a symbol cost besides, in the time of a probability


class GridModel(Protocol):
    """Probabilities of the symbols at one position, from what is already known of the grid."""

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols: ...


@dataclass(frozen=True)
class View:
    """A slice of samples at one position, and their neighbours among the positions before it."""

    grid: Symbols  # [n, channels, height + 1, width + 2]: a margin above and at both sides
    rows: slice
    channel: int
    row: int
    column: int

    def at(self, up: int, left: int, channel: int | None = None) -> Symbols:
        """Symbols ``up`` rows above and ``left`` columns to the left (negative: to the right)."""
        where = self.channel if channel is None else channel
        return self.grid[self.rows, where, self.row + 1 - up, self.column + 1 - left]

    def causal(self, channel: int | None = None) -> tuple[Symbols, Symbols, Symbols, Symbols]:
        """West, north, north-west, north-east; at a border, what lies nearest (zero for the first)."""
        width = self.grid.shape[3] - 2
        west = self.at(0, 1, channel) if self.column else self.at(1, 0, channel)
        if not self.row:
            return west, west, west, west
        north = self.at(1, 0, channel)
        north_west = self.at(1, 1, channel) if self.column else north
        north_east = self.at(1, -1, channel) if self.column + 1 < width else north
        return west, north, north_west, north_east


class Raw:
    """Every symbol equally likely: packed bits, for streams too short or too noisy to learn from."""

    def __init__(self, channels: int, levels: int) -> None:
        self._weights = uniform_prior(levels)

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        batch = view.rows.stop - view.rows.start
        return coder.code(symbols, np.broadcast_to(self._weights, (batch, len(self._weights))))


class OrderZero:
    """Symbol frequencies of each channel."""

    def __init__(self, channels: int, levels: int) -> None:
        self._models = [AdaptiveModel(uniform_prior(levels), (1,)) for _ in range(channels)]

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        batch = view.rows.stop - view.rows.start
        contexts = [np.zeros(batch, np.int64)]
        model = self._models[view.channel]
        coded = coder.code(symbols, model.weights(contexts, batch))
        model.update(contexts, coded)
        return coded


class Neighbours:
    """Frequencies under the neighbours west, north, north-west and north-east, and the channel before.

    Neighbours are reduced to at most ``fine`` levels where they count most and ``coarse`` elsewhere.
    """

    def __init__(self, channels: int, levels: int, fine: int = 8, coarse: int = 4) -> None:
        self._fine, self._coarse, self._levels = min(fine, levels), min(coarse, levels), levels
        first, third = self._fine**2, self._coarse**2
        sizes = (1, first, first * third)
        self._models = [
            AdaptiveModel(uniform_prior(levels), sizes if c == 0 else (self._fine, first, first * third))
            for c in range(min(channels, 2))
        ]

    def _reduce(self, symbols: Symbols, to: int) -> Symbols:
        return symbols * to // self._levels

    def _contexts(self, view: View) -> list[Symbols]:
        west, north, north_west, north_east = view.causal()
        w, n = self._reduce(west, self._fine), self._reduce(north, self._fine)
        if view.channel == 0:
            pair = w * self._fine + n
            nw, ne = self._reduce(north_west, self._coarse), self._reduce(north_east, self._coarse)
            return [np.zeros_like(w), pair, (pair * self._coarse + nw) * self._coarse + ne]
        before = self._reduce(view.at(0, 0, view.channel - 1), self._fine)
        predicted = _gradient(view, self._levels)
        pair = before * self._fine + self._reduce(predicted, self._fine)
        w, n = self._reduce(west, self._coarse), self._reduce(north, self._coarse)
        return [before, pair, (pair * self._coarse + w) * self._coarse + n]

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        contexts = self._contexts(view)
        model = self._models[min(view.channel, 1)]
        coded = coder.code(symbols, model.weights(contexts, len(contexts[0])))
        model.update(contexts, coded)
        return coded


_POWERS = 1 << np.arange(16)


class MedianEdge:
    """Residuals of the median-edge predictor (LOCO-I), under the activity around them."""

    BUCKETS = 10

    def __init__(self, channels: int, levels: int) -> None:
        self._levels = levels
        self._models = [
            AdaptiveModel(residual_prior(levels), (1, self.BUCKETS), strength=4)
            for _ in range(min(channels, 2))
        ]

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        west, north, north_west, north_east = view.causal()
        activity = abs(west - north_west) + abs(north_west - north) + abs(north - north_east)
        bucket = np.minimum(np.searchsorted(_POWERS, activity + 1), self.BUCKETS - 1)
        contexts = [np.zeros_like(bucket), bucket]
        predicted = _gradient(view, self._levels)
        model = self._models[min(view.channel, 1)]
        residual = None if symbols is None else (symbols - predicted) % self._levels
        coded = coder.code(residual, model.weights(contexts, len(bucket)))
        model.update(contexts, coded)
        return (coded + predicted) % self._levels


def _median_edge(view: View, channel: int) -> Symbols:
    west, north, north_west, _ = view.causal(channel)
    low, high = np.minimum(west, north), np.maximum(west, north)
    return np.clip(west + north - north_west, low, high)


def _gradient(view: View, levels: int) -> Symbols:
    """The median-edge prediction, moved by how far it was off in the channel before."""
    predicted = _median_edge(view, view.channel)
    if view.channel == 0:
        return predicted
    before = view.channel - 1
    return np.clip(predicted + view.at(0, 0, before) - _median_edge(view, before), 0, levels - 1)


# The number of a coder is part of the wire format: never reuse or renumber one.
CODERS: dict[int, tuple[str, type[Raw] | type[OrderZero] | type[Neighbours] | type[MedianEdge]]] = {
    0: ("raw", Raw),
    1: ("order-0", OrderZero),
    2: ("neighbours", Neighbours),
    3: ("median-edge", MedianEdge),
}


def code_grid(
    coder: SymbolCoder, number: int, levels: int, shape: GridShape, symbols: NDArray[np.int64] | None = None
) -> Symbols:
    """Write, measure or (``symbols`` left out) read a grid ``[n, channels, height, width]``."""
    n, channels, height, width = shape
    grid = np.zeros((n, channels, height + 1, width + 2), np.int64)
    model = CODERS[number][1](channels, levels)
    for rows, row, column, channel in _schedule(shape, BATCH_WEIGHTS // levels):
        view = View(grid, rows, channel, row, column)
        known = None if symbols is None else symbols[rows, channel, row, column]
        grid[rows, channel, row + 1, column + 1] = model.code(coder, view, known)
    return grid[:, :, 1:, 1:-1]


def coding_work(shape: GridShape, levels: int) -> int:
    """What :func:`code_grid` costs at most, in the time that one probability takes: some 100 ns."""
    n, positions = shape[0], shape[1] * shape[2] * shape[3]
    batches = -(-n * levels // BATCH_WEIGHTS)
    return positions * (_BATCH_WORK * batches + n * (_SYMBOL_WORK + levels))


def _schedule(shape: GridShape, largest: int) -> Iterator[tuple[slice, int, int, int]]:
    n, channels, height, width = shape
    done = 0
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                start = 0
                while start < n:
                    stop = min(n, start + min(max(1, done), largest))
                    yield slice(start, stop), row, column, channel
                    done += stop - start
                    start = stop


def smallest_coder(symbols: NDArray[np.int64], levels: int) -> tuple[int, float]:
    """The coder that spends the fewest bits on a grid, and how many it spends."""
    best = (0, symbols.size * float(np.log2(levels)))
    for number in CODERS:
        if number == 0 or (CODERS[number][1] is MedianEdge and levels <= 4):
            continue  # raw is known without trying; residuals of so few levels lose to counts
        meter = Meter()
        code_grid(meter, number, levels, (*symbols.shape,), symbols)
        if meter.bits < best[1]:
            best = (number, meter.bits)
    return best
