"""An independent reader of token labels, written from docs/tokens.md (and format.md, named §) alone."""

from __future__ import annotations

import heapq
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from golden.reader_mixing import Mixer, S
from golden.reader_range import RangeDecoder, left_cumulatives, require
from golden.reader_trees import Tree
from golden.reader_weights import Weights

Row = list[int]


@dataclass
class Label:
    token: int  # that truly comes
    ids: Row
    shares: Row  # of 2**24; last, of all others


def read(content: bytes) -> tuple[list[int], list[list[Label]]]:
    """Octaves of all tokens, and the labels of each chunk of a finished file."""
    require(content[:6] == b"FBTL\1\0", "a preamble")
    kinds = list(_records(content))
    require(kinds[0][0] == 1 and kinds[-1][0] == 4, "a header, and an end")
    header = _Header(_message(kinds[0][1]))
    return header.octaves, [header.chunk(body) for kind, body in kinds if kind == 3]


def _records(content: bytes) -> Iterator[tuple[int, bytes]]:
    place = 6
    while place < len(content):
        kind, length, checksum = struct.unpack_from("<BII", content, place)
        body = content[place + 9 : place + 9 + length]
        require(zlib.crc32(content[place : place + 5] + body) == checksum, "a checksum")
        yield kind, body
        place += 9 + length


def _message(body: bytes) -> dict[int, Any]:
    """§3"""
    found: dict[int, Any] = {}
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            value |= (body[place] & 127) << shift
            shift, place = shift + 7, place + 1
            if body[place - 1] < 128:
                return value

    while place < len(body):
        key = varint()
        value: Any = varint()
        if key & 7 == 2:
            value, place = body[place : place + value], place + value
        found[key >> 3] = value
    return found


class _Header:
    def __init__(self, message: dict[int, Any]) -> None:
        self.v, self.k, self.w = (message[number] for number in (1, 2, 3))
        ((tail, f),) = _tensors(message[7], [(self.v,)])
        require(f == 16, "octaves are whole")
        self.octaves = [int(number) + message.get(8, 0) for number in tail]
        self.codec = message.get(9, 0)
        self.width, self.segment, self.levels = (message.get(number, 0) for number in (10, 11, 12))
        shapes = {
            0: [],
            1: [(self.levels,)],
            4: [(self.levels, self.segment)],
            5: [(self.levels, self.segment), (self.width, self.k + 1)],
        }[self.codec]
        self.tensors = _tensors(message[13], shapes) if shapes else []
        self.codes = _codes([1 << 31 - octave for octave in self.octaves])

    @property
    def columns(self) -> Row:
        """§4.7"""
        count = {
            0: 2 * (self.k + 1),
            1: self.k + 1,
            4: -(-(self.k + 1) // max(1, self.segment)),
            5: self.width // max(1, self.segment),
        }[self.codec]
        return [self.levels if self.codec else 256] * count

    def chunk(self, body: bytes) -> list[Label]:
        n, first = struct.unpack_from("<II", body)
        decoder = RangeDecoder(body[8:])
        tokens = self._text(decoder, n, first)
        levels = [self.k + 1, *self.columns]
        trees = {
            size: Tree(6, size, n * levels.count(size)) for size in set(levels)
        }  # 6.14: T of n times columns times D - 1
        ranks = _PrefixTree(self.codes, 5, self.k * n)
        labels: list[Label] = []
        while len(labels) < n:
            start = len(labels)
            block = range(start, start + min(n - start, max(16, start), 1024))
            around = [(tokens[i - 1] if i else first, tokens[i]) for i in block]
            rows = self._table(decoder, trees, levels, around)
            ids = self._ids(decoder, ranks, around, [row[0] for row in rows])
            for (_, after), row, found in zip(around, rows, ids, strict=True):
                labels.append(Label(after, found, self._shares(row[1:])))
        return labels

    def _text(self, decoder: RangeDecoder, n: int, first: int) -> Row:
        rows = -(-n // self.w)
        grid = [[self.v] * (self.w + 2) for _ in range(rows)]
        grid[0][1] = first
        tree = _PrefixTree(self.codes, 3, n)
        for c in range(min(self.w, n)):
            here = [row for row in range(rows) if row * self.w + c < n]
            looks = [[0, grid[r][c + 1], grid[r][c + 1] << 21 | grid[r][c]] for r in here]
            for row, token in zip(here, tree.decode(decoder, looks, 0), strict=True):
                grid[row][c + 2] = token
        return [token for row in grid for token in row[2:]][:n]

    def _table(
        self, decoder: RangeDecoder, trees: dict[int, Tree], levels: Row, around: list[tuple[int, int]]
    ) -> list[Row]:
        rows = [[0] * len(levels) for _ in around]
        for c, size in enumerate(levels):
            looks = []
            for (b, a), row in zip(around, rows, strict=True):
                x, y = row[max(0, c - 1)], row[max(0, c - 2)]
                fields = [0, b << 12, a << 12, x << 12, y << 12 | x << 28, x << 12 | row[0] << 28]
                looks.append([c | field for field in fields])
            for row, symbol in zip(rows, trees[size].decode(decoder, looks, 0), strict=True):
                row[c] = symbol
        return rows

    def _ids(
        self, decoder: RangeDecoder, tree: _PrefixTree, around: list[tuple[int, int]], true: Row
    ) -> list[Row]:
        found: list[Row] = [[] for _ in around]
        for rank in range(self.k):
            who = [i for i, at in enumerate(true) if at != rank]
            looks = []
            for i in who:
                last, likeliest = (found[i][-1], found[i][0]) if rank else (self.v, self.v)
                looks.append([0, *around[i], last, likeliest])
            decoded = iter(tree.decode(decoder, looks, rank))
            for i, row in enumerate(found):
                row.append(around[i][1] if true[i] == rank else next(decoded))
        return found

    def _shares(self, t: Row) -> Row:
        u = [min(max(value * 2**15 // 1, 0), 2**15) for value in self._values(t)]
        w = [one * one for one in u]
        w[0] += not any(w)
        q = [1 + one * (2**24 - self.k - 1) // sum(w) for one in w]
        q[0] += 2**24 - sum(q)
        return q

    def _values(self, t: Row) -> list[Fraction]:
        classes = range(self.k + 1)
        if self.codec == 0:
            words = [struct.unpack("<e", bytes([t[2 * c + 1], t[2 * c]]))[0] for c in classes]
            return [Fraction(word) for word in words]
        scales = [Fraction(1) / Fraction(2) ** (f - 16) for _, f in self.tensors]
        a = self.tensors[0][0].tolist()
        if self.codec == 1:
            return [a[t[c]] * scales[0] for c in classes]
        if self.codec == 4:
            return [a[t[c // self.segment]][c % self.segment] * scales[0] for c in classes]
        b = self.tensors[1][0].tolist()
        d = range(self.width)
        numbers = [a[t[i // self.segment]][i % self.segment] for i in d]
        return [sum(numbers[i] * b[i][c] for i in d) * scales[0] * scales[1] for c in classes]


class _PrefixTree:
    """Tokens by their codes: one batch of those that take another bit for each step."""

    def __init__(self, codes: dict[tuple[int, int], int], inputs: int, symbols: int) -> None:
        self._codes = codes
        self._mixer = Mixer(inputs, min(20, max(12, (8 * symbols).bit_length())))

    def decode(self, decoder: RangeDecoder, contexts: list[Row], s: int) -> Row:
        found: dict[int, int] = {}
        so_far = dict.fromkeys(range(len(contexts)), 0)
        t = 0
        while so_far:
            who = list(so_far)
            fields = [[one << 10 | j for j, one in enumerate(contexts[i])] for i in who]
            nodes = np.array([2**t + so_far[i] for i in who], np.uint64)
            under = np.array(fields, np.uint64) * S + nodes[:, None]
            bits = self._mixer.decode(decoder, t, under, np.full(len(who), s))
            t += 1
            for i, bit in zip(who, bits, strict=True):
                so_far[i] = 2 * so_far[i] + int(bit)
                if (t, so_far[i]) in self._codes:
                    found[i] = self._codes[t, so_far.pop(i)]
        return [found[i] for i in range(len(contexts))]


def _codes(weights: Row) -> dict[tuple[int, int], int]:
    """Tokens by the length and number of their codes."""
    heap = [(weight, node, [node]) for node, weight in enumerate(weights)]
    heapq.heapify(heap)
    lengths, node = [0] * len(weights), len(weights)
    while len(heap) > 1:
        one, other = heapq.heappop(heap), heapq.heappop(heap)
        for token in one[2] + other[2]:
            lengths[token] += 1
        heapq.heappush(heap, (one[0] + other[0], node, one[2] + other[2]))
        node += 1
    found: dict[tuple[int, int], int] = {}
    code = before = 0
    for length, token in sorted((length, token) for token, length in enumerate(lengths)):
        code = code + 1 << length - before if found else 0
        before = length
        found[length, code] = token
    return found


def _tensors(stream: bytes, shapes: list[tuple[int, ...]]) -> list[tuple[Any, int]]:
    decoder = RangeDecoder(stream)
    weights = Weights(decoder.decode, left_cumulatives)
    return [weights.tensor(shape) for shape in shapes]
