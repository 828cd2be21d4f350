"""Section 6.21 of docs/format.md, for the reader of golden blobs: the weights of a network."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Left = Callable[[Array], list[int]]

B = [2 ** ((s - 12) / 4) for s in range(64)]
OTHER = [round(2**20 * math.exp(-1 / (2 * b))) for b in B]
LONGER = [[round(2**20 * max(2**-8, math.exp(-(2**n) / b))) for n in range(30)] for b in B]
ONE = [[round(2**20 * max(2**-6, 1 / (1 + math.exp(min(500, 2**n / b))))) for n in range(30)] for b in B]


class Weights:
    """Reads tensors by ``decode``, which takes left cumulatives; ``left`` makes these of weights."""

    def __init__(self, decode: Callable[[list[int]], int], left: Left) -> None:
        self._decode, self._left = decode, left

    def equal(self, levels: int) -> int:
        return self._decode(self._left(np.ones(levels, np.int64)))

    def tensor(self, shape: tuple[int, ...]) -> tuple[Array, int]:
        """The values, and f."""
        f, self._s, self._m = self.equal(64), self.equal(64), self.equal(2)
        self._counts: dict[tuple[int, ...], Array] = defaultdict(lambda: np.zeros(2, np.int64))
        size, columns = math.prod(shape), math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)
        q = max(1, round(16 * B[self._s]))
        self._sums = [[2 * q] * (size // columns), [2 * q] * columns]
        self._numbers = [[2] * (size // columns), [2] * columns]
        values: list[int] = []
        while len(values) < size:
            start = len(values)
            stop = min(size, start + max(1, min(start // 8, 2**18)))
            sides = [divmod(place, columns) for place in range(start, stop)]
            batch = self._batch([self._level(*side) for side in sides])
            for side, value in zip(sides, batch, strict=True):
                for sums, numbers, group in zip(self._sums, self._numbers, side, strict=True):
                    sums[group] += 16 * min(abs(value), 2**15 - 1)
                    numbers[group] += 1
            values += batch
        return np.array(values, np.int64).reshape(shape), f

    def _level(self, row: int, column: int) -> int:
        means = [self._sums[k][group] // self._numbers[k][group] for k, group in enumerate((row, column))]
        return min(79, sum((mean**2).bit_length() for mean in means))

    def _batch(self, levels: list[int]) -> list[int]:
        s, values = self._s, [0] * len(levels)
        bits = self._line(-1, 0, OTHER[s], levels, list(range(len(levels))))
        who = [i for i, bit in bits.items() if bit]
        negative = [i for i in who if self.equal(2)]
        for n in range(31):
            longer = self._line(n, n, LONGER[s][n], levels, who) if n < 30 else dict.fromkeys(who, 0)
            done, who = [i for i in who if not longer[i]], [i for i in who if longer[i]]
            for i in done:
                values[i] = 1
            for z in range(n - 1, -1, -1):
                for i, bit in self._line(n, z, ONE[s][z], levels, done).items():
                    values[i] = 2 * values[i] + bit
        for i in negative:
            values[i] *= -1
        return values

    def _line(self, n: int, z: int, likely: int, levels: list[int], who: list[int]) -> dict[int, int]:
        chains = {i: [(n, z), (n, z, levels[i])] if self._m and n - z <= 2 else [] for i in who}
        bits = {}
        for i, chain in chains.items():
            p = np.array([2**20 - likely, likely])
            for context in chain:
                counts = self._counts[context]
                p = (counts * 2**20 + 16 * p) // (counts.sum() + 16)
            bits[i] = self._decode(self._left(p + 1))
        for i, chain in chains.items():
            for context in chain:
                self._counts[context][bits[i]] += 1
        return bits
