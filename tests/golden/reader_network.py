"""Sections 6.17 to 6.20 of docs/format.md, for the independent reader: what a network expects of a symbol."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parents[2] / "fedbits" / "coding" / "prior.bin"
WIDTHS = {"grey": (30, 96, 96, 12), "coloured": (57, 96, 96, 12)}
E = [0, *(round(8 * math.log2(m / 16)) for m in range(1, 16384))]
V = [round(65536 / (1 + math.exp(-t / 64))) for t in range(-768, 769)]
Z = [max(1, round(65536 * math.exp(-m / 16))) for m in range(193)]
Y = [round(2 ** (16 - m / 8)) for m in range(-40, 73)]
X = [round(2 ** (8 + m / 8)) for m in range(-40, 73)]
R = [round(4096 * math.log(1 + m / 1024)) for m in range(1024)]

Array = np.ndarray[Any, Any]
Layers = list[tuple[Array, Array]]  # weights and bias of each


def clipped(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def neighbours(x: Array, c: int, row: int, column: int) -> list[int]:
    """6.7 and 6.11: W, N, NW, NE, WW, NN, NNE, NEE, NNW, NWW of ``x[c, row, column]``."""
    width = x.shape[2]

    def at(up: int, left: int) -> int | None:
        inside = row >= up and 0 <= column - left < width
        return int(x[c, row - up, column - left]) if inside else None

    if row == 0:
        w = n = nw = ne = at(0, 1) or 0
    else:
        n = int(x[c, row - 1, column])
        w, nw, ne = (n if value is None else value for value in (at(0, 1), at(1, 1), at(1, -1)))
    farther = [(0, 2, w), (2, 0, n), (2, -1, ne), (1, -2, ne), (2, 1, nw), (1, 2, nw)]
    found = [(at(up, left), instead) for up, left, instead in farther]
    return [w, n, nw, ne, *(instead if value is None else value for value, instead in found)]


def median(near: list[int]) -> int:
    w, n, nw = near[:3]
    return sorted((w, n, w + n - nw))[1]


def surroundings(x: Array, c: int, row: int, column: int, levels: int) -> tuple[list[int], int, int]:
    """6.17: the inputs, the prediction P, and e."""
    channels, height, width = x.shape
    near = neighbours(x, c, row, column)
    p = median(near)
    if c > 0:
        p += int(x[c - 1, row, column]) - median(neighbours(x, c - 1, row, column))
        p = clipped(p, 0, levels - 1)
    w, n, nw, ne, ww, nn = near[:6]
    sigma = 8 + 16 * (abs(w - nw) + abs(nw - n) + abs(n - ne) + abs(w - ww) + abs(n - nn)) // 5
    differences = [value - p for value in near]
    if channels > 1:
        others = [c - 1, c - 2] if c >= 3 else [(c - 1) % 3, (c - 2) % 3]
        for d in others:
            if d < channels:
                there = neighbours(x, d, row, column)
                differences += [value - median(there) for value in there]
                differences += [median(there) - p, int(x[d, row, column]) - median(there) if d < c else 0]
        differences += [0] * (34 - len(differences))
    inputs = [clipped(4096 * value // sigma, -2047, 2047) for value in differences]
    rho = 256 * p // (levels - 1)
    inputs += [4 * (E[sigma] + 32), rho, 256 - abs(2 * rho - 256)]
    inputs += [256 * (levels == 2**bits) for bits in range(1, 9)]
    inputs += [256 * flag for flag in (row == 0, row == 1, column == 0, column == 1, column == width - 1)]
    inputs += [256 * row // height, 256 * column // width]
    inputs += [256 * abs(2 * row + 1 - height) // height, 256 * abs(2 * column + 1 - width) // width]
    if channels > 1:
        inputs += [256 * (min(c, 2) == k) for k in range(3)]
    return inputs, p, E[sigma]


def networks() -> dict[str, Layers]:
    """6.18: layers as (weights, bias)."""
    stored, found = FILE.read_bytes(), {}
    for name, widths in WIDTHS.items():
        found[name] = []
        for inputs, outputs in pairwise(widths):
            weights = np.frombuffer(stored, "<i2", inputs * outputs).reshape(outputs, inputs).astype(np.int64)
            stored = stored[2 * weights.size :]
            found[name].append((weights, np.frombuffer(stored, "<i4", outputs).astype(np.int64)))
            stored = stored[4 * outputs :]
    assert not stored
    return found


NETWORKS = networks()


class Expected:
    """6.19: the mixture expected of one symbol."""

    def __init__(
        self, x: Array, c: int, row: int, column: int, levels: int, own: Layers | None = None
    ) -> None:
        inputs, self.p, e = surroundings(x, c, row, column, levels)
        self.levels, values = levels, np.array(inputs)
        layers = own or NETWORKS["grey" if len(x) == 1 else "coloured"]
        for i, (weights, bias) in enumerate(layers):
            values = (weights @ values + bias) // 1024
            if i + 1 < len(layers):
                values = np.clip(values, 0, 32767)
        outputs = values.tolist()
        shares, means, widths = outputs[:4], outputs[4:8], outputs[8:]
        z = [Z[min(192, (max(shares) - share) // 16)] for share in shares]
        self._a = [65536 * one // sum(z) for one in z]
        self._m = [256 * self.p + clipped(mean, -(2**15), 2**15) * X[e + 40] // 256 for mean in means]
        self._y = [Y[clipped(8 * width // 256 + e, -40, 72) + 40] for width in widths]

    def up_to(self, v: int) -> int:
        """H(v)"""
        if v < 0 or v >= self.levels - 1:
            return 0 if v < 0 else 2**32
        places = ((256 * v + 128 - m) * y >> 18 for m, y in zip(self._m, self._y, strict=True))
        return sum(a * V[clipped(place, -768, 768) + 768] for a, place in zip(self._a, places, strict=True))

    def weight(self, first: int, last: int) -> int:
        """6.20"""
        return ((self.up_to(last) - self.up_to(first - 1)) >> 8) + 256

    def logit(self, number: int, up: bool, rest: int) -> int:
        """6.12: the opinion on decision ``number``; ``rest`` is v of section 6.10 so far."""

        def far(distance: int) -> int:
            return 2**32 - self.up_to(self.p + distance) if up else self.up_to(self.p - distance - 1)

        if number == 0:
            yes = self.up_to(self.p) - self.up_to(self.p - 1)
            no = 2**32 - yes
        elif number == 1:
            yes, no = 2**32 - self.up_to(self.p), self.up_to(self.p - 1)
        elif number < 9:
            yes = far(number - 1)
            no = far(number - 2) - yes
        elif number < 17:
            yes = far(6 + 2 ** (number - 8))
            no = far(6 + 2 ** (number - 9)) - yes
        else:
            q = next(q for q in range(1, 9) if number < 17 + q * (q + 1) // 2)
            z = number - 17 - q * (q - 1) // 2
            middle = far(6 + (2 * rest + 1) * 2**z)
            yes, no = middle - far(6 + (rest + 1) * 2 ** (z + 1)), far(6 + rest * 2 ** (z + 1)) - middle
        return clipped(ln(yes) - ln(no), -49152, 49152)


def ln(value: int) -> int:
    value = max(value, 256)
    k = value.bit_length() - 1
    return 2839 * k + R[(value << 10 >> k) - 1024]
