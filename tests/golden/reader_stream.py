"""The stream of a blob: order, batches and coders, section 6 of docs/format.md.

Part of the independent reader (reader.py), and like it written from the document alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from golden.reader_mixing import Mixed
from golden.reader_network import Expected, Layers
from golden.reader_range import (
    Array,
    RangeDecoder,
    Shape,
    around,
    left_cumulatives,
    predicted,
    require,
)
from golden.reader_trees import Indices, Sparse
from golden.reader_weights import Weights

Context = tuple[int, ...]  # section 6.2: counts are kept under it
Seen = tuple[list[Context], int]  # contexts, shortest first, and what is predicted


# --- Section 6.1: order and batches -------------------------------------------------------------------------


class Coder(Protocol):
    def __init__(self, levels: int, shape: Shape) -> None: ...

    def batch(self, decoder: RangeDecoder, x: Array, labels: Array, c: int, row: int, column: int) -> Array:
        """Symbols ``[m]`` at one position of some samples ``x`` ``[m, channels, height, width]``."""
        ...


def read_grid(stream: bytes, coder: int, levels: int, shape: Shape, counts: list[int]) -> Array:
    """Symbols ``[n, channels, height, width]`` of ``counts`` samples of each class, ``n`` in all."""
    decoder, model = RangeDecoder(stream), CODERS[coder](levels, shape)
    if isinstance(model, Network):
        model.open(decoder, shape)
    n, channels, height, width = shape
    order, groups, largest = list(range(n)), [(0, n)], 2**20 // levels
    labels = np.repeat(np.arange(len(counts)), counts)
    if coder in MIXING:  # 6.9
        order = [i for _, _, i in sorted(_ranked(counts))]
        groups, largest = list(_doubling(n)), min(largest, 2**14)
        labels = labels[order]
    x, done = np.zeros(shape, np.int64), 0
    for first, last in groups:
        for row, column, c in np.ndindex(height, width, channels):
            start = first
            while start < last:
                stop = min(last, start + max(1, done), start + largest)
                batch = model.batch(decoder, x[start:stop], labels[start:stop], c, row, column)
                x[start:stop, c, row, column] = batch
                done += stop - start
                start = stop
    found = np.zeros_like(x)
    found[order] = x
    return found


def _ranked(counts: list[int]) -> Iterator[tuple[int, int, int]]:
    """Of each sample, its number within its class, the class, and its number in all."""
    number = 0
    for label, count in enumerate(counts):
        for rank in range(count):
            yield rank, label, number
            number += 1


def _doubling(n: int) -> Iterator[tuple[int, int]]:
    first, last = 0, 32
    while first < n:
        yield first, min(n, last)
        first, last = last, 2 * last


def work(shape: Shape, levels: int, coder: int) -> int:
    n, positions = shape[0], math.prod(shape[1:])
    batches = -(-n * levels // 2**20)
    if coder in (5, 8):
        edges = min(levels, 32)
        own = 11_500_000 if coder == 8 else 0
        return own + positions * ((2000 + 200 * edges) * batches + n * (30 + edges))
    if coder not in MIXING:
        return positions * (1000 * batches + n * (1 + levels // 16 if coder < 2 else 4 + levels // 8))
    bits = levels.bit_length() - 1
    batches = max(batches, -(-n // 2**14)) + ((n - 1) // 32).bit_length()
    if coder == 6:
        return positions * (batches * (1500 + 1000 * bits) + n * (20 + 30 * bits))
    if coder == 7:
        return positions * (batches * (1600 + 750 * bits) + n * (20 + 10 * bits))
    decisions = min(levels, 8) + 2 * max(0, bits - 3)
    return positions * decisions * (3000 * batches + 30 * n)


# --- Sections 6.2 to 6.6: coders 0 to 3 ---------------------------------------------------------------------


class Adaptive:
    """6.2: counts under contexts. Each coder says what it sees at a place of one sample ``x``."""

    strength = 2

    def __init__(self, levels: int, shape: Shape) -> None:
        self.levels = levels
        self._prior = self.prior()
        self._counts: dict[Context, Array] = defaultdict(lambda: np.zeros(levels, np.int64))

    def prior(self) -> Array:
        return np.full(self.levels, 2**20 // self.levels, np.int64)

    def look(self, x: Array, c: int, row: int, column: int) -> Seen:
        return [], 0

    def batch(self, decoder: RangeDecoder, x: Array, labels: Array, c: int, row: int, column: int) -> Array:
        seen = [self.look(sample, c, row, column) for sample in x]
        coded = [self.decode(decoder, contexts) for contexts, _ in seen]
        for (contexts, _), symbol in zip(seen, coded, strict=True):
            self.learn(contexts, symbol)
        return (np.array(coded) + [prediction for _, prediction in seen]) % self.levels

    def decode(self, decoder: RangeDecoder, contexts: list[Context]) -> int:
        p = self._prior
        for context in contexts:
            counts = self._counts[context]
            p = (counts * 2**20 + self.strength * p) // (counts.sum() + self.strength)
        return decoder.decode(left_cumulatives(p + 1))

    def learn(self, contexts: list[Context], coded: int) -> None:
        for context in contexts:
            self._counts[context][coded] += 1


class Raw(Adaptive):
    """6.3"""

    def decode(self, decoder: RangeDecoder, contexts: list[Context]) -> int:
        return decoder.decode([k * 2**24 // self.levels for k in range(self.levels + 1)])


class OrderZero(Adaptive):
    """6.4"""

    def look(self, x: Array, c: int, row: int, column: int) -> Seen:
        return [(c,)], 0


class Neighbours(Adaptive):
    """6.5"""

    def look(self, x: Array, c: int, row: int, column: int) -> Seen:
        def reduced(symbols: list[int], to: int) -> Context:
            return tuple(symbol * min(to, self.levels) // self.levels for symbol in symbols)

        w, n, nw, ne = around(x, c, row, column)
        if c == 0:
            pair = reduced([w, n], 8)
            return [(0,), (0, *pair), (0, *pair, *reduced([nw, ne], 4))], 0
        pair = reduced([int(x[c - 1, row, column]), predicted(x, c, row, column, self.levels)], 8)
        return [(1, pair[0]), (1, *pair), (1, *pair, *reduced([w, n], 4))], 0


class MedianEdge(Adaptive):
    """6.6"""

    strength = 4

    def prior(self) -> Array:
        residual = np.arange(self.levels)
        weight = 2**20 // (2 + np.minimum(residual, self.levels - residual)) ** 2
        return np.maximum(weight * 2**20 // weight.sum(), 1)

    def look(self, x: Array, c: int, row: int, column: int) -> Seen:
        w, n, nw, ne = around(x, c, row, column)
        activity = abs(w - nw) + abs(nw - n) + abs(n - ne)
        model = min(c, 1)
        contexts = [(model,), (model, min(activity.bit_length(), 9))]
        return contexts, predicted(x, c, row, column, self.levels)


# --- Section 6.20: coder 5 ----------------------------------------------------------------------------------


class Network:
    def __init__(self, levels: int, shape: Shape) -> None:
        self.levels = levels
        self._own: Layers | None = None

    def open(self, decoder: RangeDecoder, shape: Shape) -> None: ...

    def batch(self, decoder: RangeDecoder, x: Array, labels: Array, c: int, row: int, column: int) -> Array:
        expected = [Expected(one, c, row, column, self.levels, self._own) for one in x]
        size, starts = self.levels // 16, [0] * len(x)
        if size > 1:
            edges = [(g * size, (g + 1) * size - 1) for g in range(16)]
            groups = [decoder.decode(self._cumulatives(one, edges)) for one in expected]
            starts = [g * size for g in groups]
        count = size if size > 1 else self.levels
        found = []
        for one, start in zip(expected, starts, strict=True):
            edges = [(start + k, start + k) for k in range(count)]
            found.append(start + decoder.decode(self._cumulatives(one, edges)))
        return np.array(found)

    def _cumulatives(self, expected: Expected, edges: list[tuple[int, int]]) -> list[int]:
        return left_cumulatives(np.array([expected.weight(first, last) for first, last in edges]))


# --- Section 6.22: coder 8 ----------------------------------------------------------------------------------


class OwnNetwork(Network):
    def open(self, decoder: RangeDecoder, shape: Shape) -> None:
        reader = Weights(decoder.decode, left_cumulatives)
        hidden, inputs = 1 + reader.equal(64), 30 if shape[1] == 1 else 57
        layers = []
        for o, i in ((hidden, inputs), (12, hidden)):
            scaled = []
            for sides, zero, largest in (((o, i), 26, 2**15 - 1), ((o,), 34, 2**31 - 1)):
                values, f = reader.tensor(sides)
                require(16 <= f <= zero, "a network has finer weights than the format")
                scaled.append(values * 2 ** (zero - f))
                small = bool((abs(scaled[-1]) <= largest).all())
                require(small, "a network has larger weights than the format")
            layers.append((scaled[0], scaled[1]))
        self._own = layers


CODERS: dict[int, type[Coder]] = {
    0: Raw,
    1: OrderZero,
    2: Neighbours,
    3: MedianEdge,
    4: Mixed,
    5: Network,
    6: Indices,
    7: Sparse,
    8: OwnNetwork,
}
MIXING = (4, 6, 7)
