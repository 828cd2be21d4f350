"""Labels of views for the independent reader: sections 4.7 and 6.23 of docs/format.md.

Part of reader.py, and like it written from the document alone. Real numbers are binary64.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from golden.reader_epitome import batches, weights_work
from golden.reader_range import Array, RangeDecoder, left_cumulatives, require
from golden.reader_trees import Tree
from golden.reader_weights import Weights

SPREAD = 0x9E3779B97F4A7C15
LARGEST = 2**14


@dataclass
class ViewLabels:
    """What the message declares, by its names in the document, of ``counts`` samples of each class."""

    epochs: int
    seed: int
    cropped: int
    mirrored: bool
    mix: int
    temperature: int
    codec: int
    width: int
    segment: int
    levels: int
    counted: bool
    rotation: int
    tensors: bytes
    stream: bytes
    counts: list[int]

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        ranges = [(self.epochs, 1, 2**32 - 1), (self.cropped, 0, 63), (self.mix, 0, 2)]
        ranges += [(self.temperature, 0, 1024), (self.codec, 0, 5), (self.rotation, 0, 45)]
        ranges += [(self.classes, 1, 2**16)]
        require(all(least <= value <= most for value, least, most in ranges), "no such labels of views")
        each, few = (0, 0), (2, 256)
        widths = [each, each, (1, self.classes), (1, self.classes), each, (1, 2**14)][self.codec]
        segments = [each, each, each, each, (1, self.classes), (1, self.width)][self.codec]
        levels = [each, few, few, few, (2, 4096), (2, 4096)][self.codec]
        sizes = ((self.width, widths), (self.segment, segments), (self.levels, levels))
        require(all(least <= size <= most for size, (least, most) in sizes), "no such size of a codec")
        require(self.codec != 5 or self.width % self.segment == 0, "segments that do not fill a label")
        require(sum(self.columns) <= 2**20, "columns of too many symbols")

    @property
    def classes(self) -> int:
        return len(self.counts)

    @property
    def n(self) -> int:
        return sum(self.counts)

    @cached_property
    def labels(self) -> list[int]:
        """The class of each sample."""
        return [label for label, count in enumerate(self.counts) for _ in range(count)]

    @property
    def columns(self) -> list[int]:
        """How many symbols each has."""
        if self.codec == 0:
            return [256] * 2 * self.classes
        if self.codec == 2:
            return [self.classes] * self.width + [self.levels] * self.width
        counts = {1: self.classes, 3: self.width}
        if self.codec in (4, 5):
            counts = {4: -(-self.classes // self.segment), 5: self.width // self.segment}
        return [self.levels] * counts[self.codec]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return {
            0: [],
            1: [(self.levels,)],
            2: [(self.levels,)],
            3: [(self.classes,), (self.width, self.classes), (self.levels,)],
            4: [(self.levels, self.segment)],
            5: [(self.levels, self.segment), (self.width, self.classes)],
        }[self.codec]

    def work(self) -> int:
        """Section 8."""
        columns = self.columns
        units = self.n.bit_length() * self._batch(columns[0])
        for size, times in Counter(columns).items():
            parts = -(-self.n // min(2**20 // size, LARGEST))
            units += times * self.epochs * (parts * self._batch(size) + self.n * self._symbol(size))
        return units + sum(_free(math.prod(shape)) for shape in self.shapes)

    def limited(self) -> tuple[int, int, int]:
        """Section 9: numbers, parameters and work that count besides those of the samples."""
        columns, parameters = self.columns, sum(math.prod(shape) for shape in self.shapes)
        known = self.classes if self.knows_classes else 1
        model = 11 * 2**18 * len(set(columns))
        if self.counted:
            model = 3 * 2**20 + 144 * len(columns) + (len(columns) + sum(columns)) * (1 + known)
        table = -(-self.n * (self.epochs * (len(columns) + 8) + 32) // 4)
        work = self.work() + self.epochs * (600 + self.n)
        for shape in self.shapes:
            size = math.prod(shape)
            work += weights_work(size) - _free(size)
        return table + 6 * parameters + model, parameters, work

    def _batch(self, size: int) -> int:
        return 1000 if self.counted else 1600 + 1000 * (size - 1).bit_length()

    def _symbol(self, size: int) -> int:
        return 4 + size // 8 if self.counted else 25 + 20 * (size - 1).bit_length()

    @property
    def knows_classes(self) -> bool:
        return self.classes > 1 and self.classes * sum(self.columns) <= 2**22

    # --- 4.7: draws and views -------------------------------------------------------------------------------

    def draws(self, epoch: int, i: int) -> list[int]:
        """2^53 · u."""
        text = f"{self.seed}/view/{epoch}".encode()
        key = int.from_bytes(hashlib.sha256(text).digest()[:8], "little") // 2
        found = []
        for j in range(10):
            z = (key + (10 * i + j + 1) * SPREAD) % 2**64
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
            found.append((z ^ z >> 31) >> 11)
        return found

    def partner(self, epoch: int, i: int) -> int:
        if self.mix == 0:
            return i
        return min(math.floor(self.draws(epoch, i)[0] / 2**53 * float(self.n)), self.n - 1)

    def view(self, samples: Array, epoch: int, i: int) -> Array:
        """Of ``samples`` ``[n, *shape]``, as binary64."""
        own, u = self._crop(samples, epoch, i), [draw / 2**53 for draw in self.draws(epoch, i)]
        if self.mix == 0:
            return own
        other, share = self._crop(samples, epoch, self.partner(epoch, i)), 1 - u[1] / 2
        if self.mix == 1 or own.ndim == 1:
            return share * own + (1 - share) * other
        height, width = own.shape[1:]
        half = math.sqrt(1 - share) / 2
        rows = abs(np.arange(height) + 0.5 - u[7] * height) < half * height
        columns = abs(np.arange(width) + 0.5 - u[8] * width) < half * width
        return np.where(rows[:, None] & columns, other, own)

    def _crop(self, samples: Array, epoch: int, i: int) -> Array:
        sample = samples[i].astype(np.float64)
        if sample.ndim == 1:
            return sample
        u, a = [draw / 2**53 for draw in self.draws(epoch, i)], 1 - self.cropped / 64
        area, ratio = a + (1 - a) * u[2], (4 / 3) ** (2 * u[3] - 1) if a < 1 else 1
        w, h = min(1, math.sqrt(area * ratio)), min(1, math.sqrt(area / ratio))
        right, down = (2 * u[4] - 1) * (1 - w), (2 * u[5] - 1) * (1 - h)
        angle = math.radians((2 * u[9] - 1) * self.rotation)
        m = -1 if self.mirrored and u[6] < 0.5 else 1
        _, height, width = sample.shape
        x, y = (2 * np.arange(width) + 1) / width - 1, (2 * np.arange(height)[:, None] + 1) / height - 1
        column = m * w * math.cos(angle) * x - h * math.sin(angle) * y + right
        row = m * w * math.sin(angle) * x + h * math.cos(angle) * y + down
        column = np.clip(((column + 1) * width - 1) / 2, 0, width - 1)
        row = np.clip(((row + 1) * height - 1) / 2, 0, height - 1)
        top, left = np.floor(row).astype(int), np.floor(column).astype(int)
        bottom, after = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
        down_by, right_by = row - top, column - left
        upper = (1 - right_by) * sample[:, top, left] + right_by * sample[:, top, after]
        lower = (1 - right_by) * sample[:, bottom, left] + right_by * sample[:, bottom, after]
        return (1 - down_by) * upper + down_by * lower

    # --- 4.7: symbols and labels ----------------------------------------------------------------------------

    def read(self) -> tuple[Array, list[tuple[Array, int]]]:
        """The table ``[epochs, n, columns]``, and tensors, each with its f."""
        units = self.work()
        require(
            len(self.stream) >= max(0, -(-(units - 2**22) // 2**13)), "a stream of labels that is too short"
        )
        weights = Weights(RangeDecoder(self.tensors).decode, left_cumulatives)
        return self._table(), [weights.tensor(shape) for shape in self.shapes]

    def values(self, tensors: list[tuple[Array, int]], t: list[int]) -> list[float]:
        """v of one label."""
        reals = [values * 2.0 ** -(f - 16) for values, f in tensors]
        each, first = range(self.classes), reals[0] if reals else np.zeros(0)
        if self.codec == 0:
            words = np.array([2**8 * t[2 * c] + t[2 * c + 1] for c in each], "<u2").view("<f2")
            return [_float16(float(word)) for word in words]
        if self.codec == 1:
            return [float(first[t[c]]) for c in each]
        if self.codec == 2:
            powers = [math.exp(min(0, first[t[self.width + j]])) for j in range(self.width)]
            rest = max(0, 1 - sum(powers)) / max(1, self.classes - self.width)
            return [{**dict.fromkeys(each, rest), **dict(zip(t, powers, strict=False))}[c] for c in each]
        if self.codec == 3:
            mean, components, levels = reals
            return (mean + sum(levels[q] * row for q, row in zip(t, components, strict=True))).tolist()
        if self.codec == 4:
            return [float(first[t[c // self.segment], c % self.segment]) for c in each]
        latents = [first[t[d // self.segment], d % self.segment] for d in range(self.width)]
        return sum(z * row for z, row in zip(latents, reals[1], strict=True)).tolist()

    def label(self, tensors: list[tuple[Array, int]], t: list[int]) -> Array:
        floored = np.maximum(self.values(tensors, t), 1e-6)
        return floored / floored.sum()

    # --- 6.23: the table ------------------------------------------------------------------------------------

    def _table(self) -> Array:
        decoder, columns = RangeDecoder(self.stream), self.columns
        table = np.zeros((self.epochs, self.n, len(columns)), np.int64)
        column = self._counts() if self.counted else self._trees()
        ranked = [(rank, label) for label, count in enumerate(self.counts) for rank in range(count)]
        order = sorted(range(self.n), key=lambda i: ranked[i])
        done = 0
        for epoch in range(self.epochs):
            partners = [self.partner(epoch, i) for i in range(self.n)]
            for k, size in enumerate(columns):
                start = 0
                while start < self.n:
                    stop = min(self.n, start + max(1, done), start + min(2**20 // size, LARGEST))
                    who = order[start:stop]
                    if size > 1:
                        table[epoch, who, k] = column(decoder, table, epoch, k, who, partners)
                    done += stop - start
                    start = stop
        return table

    def _counts(self) -> Callable[..., list[int]]:
        counts: dict[tuple[int, ...], Array] = {}
        columns, classes = self.columns, self.knows_classes

        def column(decoder: RangeDecoder, _: Array, __: int, k: int, who: list[int], *___: Any) -> list[int]:
            size, found, chains = columns[k], [], []
            for i in who:
                chains.append([(k,), (k, self.labels[i])] if classes else [(k,)])
                p = np.full(size, 2**20 // size, np.int64)
                for context in chains[-1]:
                    seen = counts.setdefault(context, np.zeros(size, np.int64))
                    p = (2**20 * seen + 2 * p) // (seen.sum() + 2)
                found.append(decoder.decode(left_cumulatives(p + 1)))
            for chain, symbol in zip(chains, found, strict=True):
                for context in chain:
                    counts[context][symbol] += 1
            return found

        return column

    def _trees(self) -> Callable[..., list[int]]:
        columns = self.columns
        trees = {s: Tree(11, s, self.epochs * self.n * times) for s, times in Counter(columns).items()}

        def column(
            decoder: RangeDecoder, table: Array, epoch: int, k: int, who: list[int], partners: list[int]
        ) -> list[int]:
            contexts = []
            for i in who:
                label, mixed = self.labels[i], self.labels[partners[i]]
                w = int(table[epoch, i, k - 1]) if k > 0 else 0
                ww = int(table[epoch, i, k - 2]) if k > 1 else 0
                p = int(table[epoch - 1, i, k]) if epoch else 0
                fields = [
                    *(0, label << 12, mixed << 12 | label << 32, i << 12, p << 12, label << 12 | p << 32),
                    *(
                        w << 12,
                        label << 12 | w << 32,
                        ww << 12 | w << 24,
                        p << 12 | w << 24,
                        i << 12 | w << 32,
                    ),
                ]
                contexts.append([k | field for field in fields])
            return trees[columns[k]].decode(decoder, contexts, 0)

        return column


def _free(size: int) -> int:
    """The work of a tensor of so many numbers for which a stream has to have bytes."""
    return 250 * (2 + batches(size)) + 2 * size


def _float16(value: float) -> float:
    if math.isnan(value) or value == -math.inf:
        return 0.0
    return 1.0 if value == math.inf else value
