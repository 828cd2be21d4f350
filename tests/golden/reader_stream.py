"""The stream of a blob: the range decoder and the coders, sections 5 and 6 of docs/format.md.

Part of the independent reader (reader.py), and like it written from the document alone.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Generator, Iterator
from typing import Any, Protocol

import numpy as np
from golden.reader_network import Expected, Layers
from golden.reader_weights import Weights

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int, int]  # samples, channels, height, width
Context = tuple[int, ...]  # section 6.2: counts are kept under it
Seen = tuple[list[Context], int]  # contexts, shortest first, and what is predicted


def require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


# --- Section 5: the range decoder ---------------------------------------------------------------------------


class RangeDecoder:
    def __init__(self, stream: bytes) -> None:
        padded = stream + bytes(-len(stream) % 4)
        self._words = iter(struct.unpack(f"<{len(padded) // 4}I", padded))
        self._range = 2**64 - 1
        self._offset = next(self._words, 0) << 32 | next(self._words, 0)

    def decode(self, left: list[int]) -> int:
        scale = self._range >> 24
        quantile = self._offset // scale
        require(quantile < 1 << 24, "no encoder writes this stream")
        symbol = bisect_right(left, quantile) - 1
        self._offset -= scale * left[symbol]
        self._range = scale * (left[symbol + 1] - left[symbol])
        if self._range < 1 << 32:
            self._range <<= 32
            self._offset = self._offset << 32 | next(self._words, 0)
        return symbol


def left_cumulatives(weights: Array) -> list[int]:
    """What lies before each symbol, and 2²⁴ at the end, from integer weights."""
    levels = len(weights)
    scale = np.float64(2**24 - levels) / np.float64(weights.sum())
    before = (np.cumsum(weights) - weights).astype(np.float64)
    return [*((before * scale).astype(np.int64) + np.arange(levels)).tolist(), 1 << 24]


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


def around(x: Array, c: int, row: int, column: int) -> list[int]:
    """6.7: west, north, north-west, north-east."""
    if row == 0:
        return [int(x[c, 0, column - 1]) if column else 0] * 4
    above = x[c, row - 1].tolist()
    n = above[column]
    w, nw = (int(x[c, row, column - 1]), above[column - 1]) if column else (n, n)
    return [w, n, nw, above[column + 1] if column + 1 < len(above) else n]


def median(x: Array, c: int, row: int, column: int) -> int:
    w, n, nw, _ = around(x, c, row, column)
    return sorted((w, n, w + n - nw))[1]


def predicted(x: Array, c: int, row: int, column: int, levels: int) -> int:
    """6.8"""
    if c == 0:
        return median(x, 0, row, column)
    moved = median(x, c, row, column) + int(x[c - 1, row, column]) - median(x, c - 1, row, column)
    return min(max(moved, 0), levels - 1)


# --- Sections 6.9 to 6.13: coder 4 --------------------------------------------------------------------------

S, DOWN = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
G = np.array([round(4096 * math.log(5 * n + 2)) for n in range(1024)], np.int64)
Q = np.array([round(65536 / (1 + math.exp(-t / 256))) for t in range(-2800, 2801)], np.int64)
BUCKET = np.array([min(7, (((n + 1) ** 3).bit_length() - 1) // 2) for n in range(2048)], np.int64)
PREFIXES = [[9 + q, *(17 + q * (q - 1) // 2 + place for place in reversed(range(q)))] for q in range(8)]
ORDER = [*range(9), *(number for numbers in PREFIXES for number in numbers)]

Asked = tuple[int, bool, int]  # a decision's number, whether the symbol is below the prediction, v
Decisions = Generator[Asked, int, int]  # is sent the bit


def decisions(prediction: int, levels: int) -> Decisions:
    """6.10: the decisions about one symbol, which is what this returns."""
    if (yield 0, False, 0):
        return prediction
    up = prediction == 0 or (prediction < levels - 1 and (yield 1, False, 0) == 1)
    room = levels - 1 - prediction if up else prediction
    distance = 1
    while distance < min(8, room) and (yield 1 + distance, not up, 0):
        distance += 1
    if distance == 8:
        for longer, *places in PREFIXES:
            if not (yield longer, not up, 0):
                rest = 1
                for place in places:
                    rest = 2 * rest + (yield place, not up, rest)
                distance = min(7 + rest, room)
                break
    return prediction + (distance if up else -distance)


class Mixed:
    def __init__(self, levels: int, shape: Shape) -> None:
        self.levels, self.inputs = levels, 16 if shape[1] == 1 else 20
        self._mixer = Mixer(self.inputs, min(18, max(12, (math.prod(shape) - 1).bit_length())), network=True)

    def batch(self, decoder: RangeDecoder, x: Array, labels: Array, c: int, row: int, column: int) -> Array:
        looks = [self.look(one, int(k), c, row, column) for one, k in zip(x, labels, strict=True)]
        hashes = np.array([look[0] for look in looks], np.uint64) * S
        selectors = np.array([look[1] for look in looks])
        expected = [Expected(one, c, row, column, self.levels) for one in x]
        asking = {i: decisions(look[2], self.levels) for i, look in enumerate(looks)}
        asked = {i: next(asks) for i, asks in asking.items()}
        found = np.zeros(len(x), np.int64)
        for number in ORDER:
            who = [i for i, (what, *_) in asked.items() if what == number]
            if not who:
                continue
            away = np.array([[asked[i][1]] for i in who]) * DOWN
            kind = 45 * min(c, 2) + number
            opinions = np.array([expected[i].logit(number, not asked[i][1], asked[i][2]) for i in who])
            bits = self._mixer.decode(decoder, kind, hashes[who] + away, selectors[who], opinions)
            for i, bit in zip(who, bits, strict=True):
                try:
                    asked[i] = asking[i].send(bit)
                except StopIteration as end:
                    found[i] = end.value
                    del asked[i]
        return found

    def look(self, x: Array, label: int, c: int, row: int, column: int) -> tuple[list[int], int, int]:
        """6.11: what is hashed of each context, the selector, and the prediction."""
        near, prediction = around(x, c, row, column), predicted(x, c, row, column, self.levels)
        far = second_ring(x, c, row, column, near)
        activity = abs(near[0] - near[2]) + abs(near[2] - near[1]) + abs(near[1] - near[3])
        activity += abs(near[0] - far[0]) + abs(near[1] - far[1])
        selector = (activity * 32 // self.levels).bit_length()
        p, w, n, nw, ne, ww, nn, nne, nee, nnw, nww = map(self._reduced, (prediction, *near, *far))
        before = int(x[c - 1, row, column]) if c else 0
        b = self._reduced(before)
        height, width = x.shape[1:]
        position = row << 12 | column
        cell = 5 * (5 * row // height) + 5 * column // width
        cross, square = joined(4, n, w), joined(4, ne, nw, n, w)
        contexts = [
            0,
            position << 4 | p,
            b << 8 | cross,
            b << 16 | square,
            b << 16 | joined(4, nn, ww, n, w),
            prediction << 4 | selector,
            joined(4, p, b, nn, ww) << 16 | square,
            joined(4, p, nne, ne, n),
            activity << 4 | p,
            joined(4, p, ww, nn),
            joined(4, b, nww, nnw, nee, nne, nn, ww) << 16 | square,
            label << 8 | cross,
            label << 12 | cell << 4 | p,
            label << 24 | position,
            label << 28 | position << 4 | p,
            position << 8 | cross,
        ]
        if c == 0:
            contexts += [0] * (self.inputs - len(contexts))
        else:
            west, north, *_ = around(x, c - 1, row, column)
            first, off = int(x[0, row, column]), before - median(x, c - 1, row, column) + 256
            contexts += [
                joined(8, prediction, before, first),
                joined(8, off, before, first),
                joined(10, off, near[0] - west + 256, near[1] - north + 256),
                joined(4, b, *map(self._reduced, (first, *near[:2], west, north))),
            ]
        return [one << 7 | min(c, 2) << 5 | i for i, one in enumerate(contexts)], selector, prediction

    def _reduced(self, symbol: int) -> int:
        return symbol if self.levels <= 16 else 16 * symbol // self.levels


def joined(bits: int, *fields: int) -> int:
    """Fields of so many bits, the most significant first."""
    whole = 0
    for field in fields:
        whole = whole << bits | field
    return whole


def second_ring(x: Array, c: int, row: int, column: int, near: list[int]) -> list[int]:
    """6.11: WW, NN, NNE, NEE, NNW, NWW."""
    instead = dict(zip(("W", "N", "NW", "NE"), near, strict=True))

    def at(up: int, left: int, outside: str) -> int:
        inside = row >= up and 0 <= column - left < x.shape[2]
        return int(x[c, row - up, column - left]) if inside else instead[outside]

    return [at(0, 2, "W"), at(2, 0, "N"), at(2, -1, "NE"), at(1, -2, "NE"), at(2, 1, "NW"), at(1, 2, "NW")]


class Mixer:
    """6.12 and 6.13, for a batch of decisions of one kind."""

    def __init__(self, inputs: int, slots_log2: int, network: bool = False) -> None:
        self._input, self._shift = np.arange(inputs), np.uint64(64 - slots_log2)
        self._counts = np.zeros((inputs, 1 << slots_log2, 2), np.int64)  # of zeros, of ones
        trust = 2**16 * 13 * (21 + 9 * np.arange(8)) // (700 * inputs)
        trust = np.tile(trust, (inputs, 1))
        if network:
            trust = np.vstack([52428 * trust // 2**16, np.full((1, 8), 39322)])
        self._weights = np.tile(trust, (3 * 45, 9, 1, 1))  # kind, selector, input, bucket
        self._seen = 0

    def decode(
        self,
        decoder: RangeDecoder,
        kind: int,
        hashes: Array,
        selectors: Array,
        opinions: Array | None = None,
    ) -> list[int]:
        """One bit for each row of ``hashes`` ``[m, inputs]``; ``opinions`` ``[m]``: the network's logits."""
        slots = ((hashes + np.uint64(kind)) * S) >> self._shift
        counters = (self._input, slots.astype(np.int64))
        counts = self._counts[counters]
        logits = G[counts[..., 1]] - G[counts[..., 0]]
        inputs, buckets = self._input, BUCKET[counts.sum(axis=2)]
        if opinions is not None:
            inputs = np.arange(len(inputs) + 1)
            logits = np.column_stack([logits, opinions])
            buckets = np.column_stack([buckets, np.zeros_like(opinions)])
        used = (selectors[:, None], inputs, buckets)
        weights = self._weights[kind]
        t = np.clip((weights[used] * logits).sum(axis=1) // 2**20, -2800, 2800)
        ones = Q[t + 2800]
        bits = [decoder.decode(left_cumulatives(np.array([65536 - one, one]))) for one in ones]
        self._learn(weights, used, logits * (65536 * np.array(bits) - ones)[:, None])
        self._count(counters, np.array(bits)[:, None])
        return bits

    def _learn(self, weights: Array, used: tuple[Array, ...], gradients: Array) -> None:
        rate = 131 + 524 * 20000 // (20000 + self._seen)
        self._seen += len(gradients)
        gradient, members = np.zeros_like(weights), np.zeros_like(weights)
        np.add.at(gradient, used, gradients)
        np.add.at(members, used, 1)
        change = gradient.astype(np.float64) * rate / np.sqrt(np.maximum(members, 1).astype(np.float64))
        weights += np.floor(change / 2**28).astype(np.int64)

    def _count(self, counters: tuple[Array, Array], bits: Array) -> None:
        np.add.at(self._counts, (*counters, bits), 1)
        counts = self._counts[counters]  # a slot that several share comes several times, always the same
        limit = 30
        while (counts.sum(axis=2) > limit).any():
            halved = counts.sum(axis=2, keepdims=True) > limit
            counts = np.where(halved, (counts + 1) // 2, counts)
            limit = 1023
        self._counts[counters] = counts


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


# --- Sections 6.14 to 6.16: coders 6 and 7 ------------------------------------------------------------------


class Tree:
    """6.14: symbols below ``levels``, the highest bit first, under contexts given as integers."""

    def __init__(self, inputs: int, levels: int, symbols: int) -> None:
        self._levels, self._depth = levels, (levels - 1).bit_length()
        slots_log2 = min(18, max(12, (symbols * self._depth - 1).bit_length()))
        self._mixer = Mixer(inputs, slots_log2)

    def decode(self, decoder: RangeDecoder, contexts: list[list[int]], c: int) -> list[int]:
        if not contexts:
            return []
        fields = [[one << 10 | min(c, 31) << 5 | j for j, one in enumerate(row)] for row in contexts]
        hashes, nodes = np.array(fields, np.uint64) * S, np.ones(len(fields), np.int64)
        for depth in range(self._depth):
            under = hashes + nodes.astype(np.uint64)[:, None]
            bits = self._mixer.decode(decoder, depth, under, np.zeros_like(nodes))
            nodes = 2 * nodes + bits
        return [min(int(node) - (1 << self._depth), self._levels - 1) for node in nodes]


def place(x: Array, c: int, row: int, column: int) -> int:
    """6.14, of a sample ``x`` ``[channels, height, width]``."""
    return (row * x.shape[2] + column) * x.shape[0] + c


class Indices:
    """6.15"""

    def __init__(self, levels: int, shape: Shape) -> None:
        _, channels, height, _ = shape
        self._inputs = 7 + (7 if height > 1 else 0) + (3 if channels > 1 else 0)
        self._tree = Tree(self._inputs, levels, math.prod(shape))

    def batch(self, decoder: RangeDecoder, x: Array, labels: Array, c: int, row: int, column: int) -> Array:
        looks = [self.look(one, int(k), c, row, column) for one, k in zip(x, labels, strict=True)]
        return np.array(self._tree.decode(decoder, looks, c))

    def look(self, x: Array, label: int, c: int, row: int, column: int) -> list[int]:
        w, n, nw, ne = around(x, c, row, column)
        ww = int(x[c, row, column - 2]) if column > 1 else w
        channels, height, _ = x.shape
        q, cross = place(x, c, row, column), w << 8 | n
        contexts = [q, label, label << 26 | q, w, w << 26 | q, w << 8 | ww, w << 26 | label]
        if height > 1:
            contexts += [n, n << 26 | q, cross, cross << 8 | nw, n << 8 | ne, n << 26 | label]
            contexts.append(cross << 26 | label)
        if channels > 1:
            b = int(x[c - 1, row, column]) if c else 0
            contexts += [b, b << 26 | q, b << 8 | w]
        return contexts


class Sparse:
    """6.16"""

    RING = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, -1), (1, -2), (2, 1), (1, 2))

    def __init__(self, levels: int, shape: Shape) -> None:
        self._levels, symbols = levels, math.prod(shape)
        self._bitmap = Tree(9, 2, symbols)
        self._values = Tree(7 + (shape[1] > 1), levels - 1, symbols)
        self._frequencies = [0] * levels
        self._set = [0] * shape[0]
        self._where, self._group, self._next = (0, 0, 0), 0, 0

    def batch(self, decoder: RangeDecoder, x: Array, labels: Array, c: int, row: int, column: int) -> Array:
        usual, who = self._frequencies.index(max(self._frequencies)), self._samples((c, row, column), len(x))
        looks = [
            self.look(one, int(k), c, row, column, usual, self._set[i])
            for one, k, i in zip(x, labels, who, strict=True)
        ]
        bits = self._bitmap.decode(decoder, [bitmap for bitmap, _ in looks], c)
        others = [values for bit, (_, values) in zip(bits, looks, strict=True) if bit]
        values = iter(self._values.decode(decoder, others, c))
        found = [(usual + 1 + next(values)) % self._levels if bit else usual for bit in bits]
        for i, bit, symbol in zip(who, bits, found, strict=True):
            self._set[i] += bit
            self._frequencies[symbol] += 1
        return np.array(found)

    def _samples(self, where: tuple[int, int, int], count: int) -> range:
        """Their numbers: they go on at one position, and start again at the next."""
        if where != self._where:
            self._group = self._next if where == (0, 0, 0) else self._group
            self._next, self._where = self._group, where
        self._next += count
        return range(self._next - count, self._next)

    def look(
        self, x: Array, label: int, c: int, row: int, column: int, usual: int, so_far: int
    ) -> tuple[list[int], list[int]]:
        """Contexts of the bit, and of the value."""
        channels, height, width = x.shape

        def at(up: int, left: int) -> int:
            inside = row >= up and 0 <= column - left < width
            return int(x[c, row - up, column - left]) if inside else usual

        ring = [at(*to) for to in self.RING]
        bits = [int(symbol != usual) for symbol in ring]
        sizes = [abs(symbol - usual) for symbol in ring]
        activity = min(255, 2 * (sizes[0] + sizes[1]) + sum(sizes[2:6]))
        q, cell, so_far = (
            place(x, c, row, column),
            8 * (8 * row // height) + 8 * column // width,
            min(so_far, 255),
        )
        before = int(x[c - 1, row, column]) if c else usual
        b = int(before != usual)
        bitmap = [
            0,
            q,
            label << 26 | q,
            b << 10 | joined(1, *reversed(bits)),
            b << 8 | activity,
            so_far << 8 | cell,
            so_far << 26 | q,
            label << 7 | b << 6 | joined(1, *reversed(bits[:6])),
            activity << 8 | min(row + column, 255),
        ]
        values = [
            0,
            q,
            label << 26 | q,
            activity,
            cell,
            label << 16 | joined(8, *ring[:2]),
            ring[0] << 26 | q,
        ]
        if channels > 1:
            values.append(before << 8 | ring[0])
        return [one << 8 | usual for one in bitmap], [one << 8 | usual for one in values]


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
