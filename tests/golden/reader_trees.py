"""The coders of indices and of sparse grids: sections 6.14 to 6.16 of docs/format.md.

Part of the independent reader (reader.py), and like it written from the document alone.
"""

from __future__ import annotations

import math

import numpy as np
from golden.reader_mixing import Mixer, S, joined
from golden.reader_range import Array, RangeDecoder, Shape, around


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
