"""Section 7.8 of docs/format.md, for the independent reader: epitomes, from symbols to samples in integers.

Part of reader.py, and like it written from the document alone. Sums are Python's integers: none overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from golden.reader_range import Array, RangeDecoder, left_cumulatives, require
from golden.reader_weights import Weights

LARGEST = 2**24
Tensor = tuple[Any, int]  # lists of integers, and how many fractional bits they have


@dataclass
class Epitome:
    """What the message declares, by its names in the document; ``sample``: C, Y, X."""

    k: int
    d: int
    h: int
    r: int
    patch: int
    nonzeros: int
    bits: int
    coder: int
    fraction_bits: list[int]
    sample: tuple[int, int, int]
    image: bool

    def check(self) -> None:
        ranges = ((self.k, 1, 4096), (self.d, 1, 1024), (self.h, 1, self.d), (self.r, 0, 16))
        ranges += ((self.patch, 1, 256), (self.nonzeros, 1, 2**20), (self.bits, 2, 8), (self.coder, 0, 7))
        require(all(least <= value <= most for value, least, most in ranges), "no such epitome")
        require(self.d % self.h == 0, "heads that do not divide the width")
        require(len(self.fraction_bits) == self.h, "as many steps as there are heads are missing")
        require(all(-16 <= one <= 47 for one in self.fraction_bits), "no such step")

    @property
    def cut(self) -> tuple[int, int]:
        return (self.patch if self.image else 1), self.patch

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches; their product is J."""
        return -(-self.sample[1] // self.cut[0]), -(-self.sample[2] // self.cut[1])

    @property
    def numbers(self) -> int:
        """E"""
        return self.sample[0] * math.prod(self.cut)

    @property
    def stored(self) -> tuple[int, int, int]:
        return 1, 1, self.h * self.k * math.prod(self.grid)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the tensors of the network."""
        d, e = self.d, self.numbers
        block: list[tuple[int, ...]] = [(d, d), (d,), (d,), (d,), (d, d), (d,), (d, d), (d,), (d,), (d,)]
        return [*block * self.r, (e, d), (e,)]

    def work(self, n: int) -> int:
        """Section 8: what there is besides the symbols."""
        d, e, (high, wide) = self.d, self.numbers, self.cut
        tensors = sum(weights_work(math.prod(shape)) for shape in [(self.k, d), *self.shapes])
        products = (self.k * d + 3 * self.r * d**2 + e * d) // 64
        features = 2 * (self.r + 1) * d + e // 8 + self.h * self.k // 8
        each = math.prod(self.grid) * (1 + products + features)
        return d * e * (1 + (high + wide) // 64) + tensors + n * each


def weights_work(size: int) -> int:
    return 250 * (2 + sum(min(527, 62 * batch) for batch in _batches(size))) + 124 * size


def batches(size: int) -> int:
    """How many there are of a tensor: section 6.21."""
    return sum(1 for _ in _batches(size))


def _batches(size: int) -> Iterator[int]:
    start = 0
    while start < size:
        batch = min(max(1, min(start // 8, 2**18)), size - start)
        yield batch
        start += batch


def codes_of(form: Epitome, symbols: Array) -> Array:
    """Coefficients ``[n, H, K, J]`` of ``symbols`` ``[n, 1, 1, H·K·J]``."""
    codes = symbols.reshape(-1, form.h, form.k, math.prod(form.grid)) - 2 ** (form.bits - 1)
    require(bool((symbols > 0).all()), "a coefficient that none can be")
    require(int((codes != 0).sum(axis=(2, 3)).max()) <= form.nonzeros, "too many coefficients")
    return codes


def read_tensors(form: Epitome, tokens: bytes, network: bytes) -> list[Tensor]:
    """Tokens, and the tensors of the network."""
    return [*_tensors(tokens, [(form.k, form.d)]), *_tensors(network, form.shapes)]


def samples_of(
    form: Epitome, codes: Array, tensors: list[Tensor], untransformed: Callable[[Array], Array]
) -> Array:
    """Samples ``[n, C, Y, X]``; ``untransformed``: section 7.3."""
    token, *tensors = tensors
    for values, _ in (token, *tensors):
        require(int(abs(values).max()) <= 2**23, "a number that is too large")
    if form.image and form.patch > 1:
        tensors[-2:] = [_as_places(form, tensor, untransformed) for tensor in tensors[-2:]]
    columns = abs(token[0]).sum(axis=0).max()
    require(int(columns) * 2 ** (form.bits - 1) < 2**52, "tokens that are too large")
    rows = [int(abs(values).sum(axis=1).max()) for values, _ in tensors if values.ndim == 2]
    require(max(rows) < 2**28, "weights that are too large")
    gains = [tensors[10 * block + place][1] for block in range(form.r) for place in (2, 8)]
    require(all(0 <= p <= 30 for p in gains), "a gain of another precision")
    plain = [(values.tolist(), p) for values, p in tensors]
    patches = [_patch(form, z, plain) for sample in codes.tolist() for z in _coded(form, sample, *token)]
    return _joined(form, np.array(patches)).astype(np.float32) / np.float32(2**10)


def _tensors(stream: bytes, shapes: list[tuple[int, ...]]) -> Iterator[Tensor]:
    reader = Weights(RangeDecoder(stream).decode, left_cumulatives)
    for shape in shapes:
        values, f = reader.tensor(shape)
        yield values, f - 16


def _as_places(form: Epitome, tensor: Tensor, untransformed: Callable[[Array], Array]) -> Tensor:
    values, p = tensor
    images = values.reshape(form.sample[0], form.patch, form.patch, -1).astype(np.float64) * 2.0**-p
    places = untransformed(images.transpose(3, 0, 1, 2)) * 2**12
    return places.astype(np.int64).transpose(1, 2, 3, 0).reshape(values.shape), 12


def clipped(value: int) -> int:
    return max(-LARGEST, min(LARGEST, value))


def shift(value: int, p: int, q: int) -> int:
    if p <= q:
        return clipped(value * 2 ** (q - p))
    return clipped((2 * value + 2 ** (p - q)) // 2 ** (p - q + 1))


def _coded(form: Epitome, sample: list[Any], token: Array, p: int) -> Iterator[list[int]]:
    """z of each patch."""
    columns = token.T.tolist()
    for j in range(math.prod(form.grid)):
        z = []
        for d, column in enumerate(columns):
            h = d * form.h // form.d
            total = sum(sample[h][k][j] * one for k, one in enumerate(column))
            z.append(shift(total, form.fraction_bits[h] + p, 12))
        yield z


def linear(x: list[int], weights: Tensor, biases: Tensor, q: int = 12) -> list[int]:
    (rows, p), (offsets, p_offset) = weights, biases
    sums = [sum(a * b for a, b in zip(x, row, strict=True)) for row in rows]
    return [
        clipped(shift(one, 12 + p, q) + shift(offset, p_offset, q))
        for one, offset in zip(sums, offsets, strict=True)
    ]


def normalised(x: list[int], gains: Tensor, shifts: Tensor) -> list[int]:
    (gain, p), (offset, p_offset) = gains, shifts
    x = [clipped(one) for one in x]
    mean = (2 * sum(x) + len(x)) // (2 * len(x))
    distances = [one - mean for one in x]
    variance = sum(one**2 for one in distances) // len(x)
    root = math.isqrt(2**12 * (variance + 168))
    units = [(2**19 * one + root) // (2 * root) for one in distances]
    return [
        clipped(shift(unit * (one + 2**p), 12 + p, 12) + shift(other, p_offset, 12))
        for unit, one, other in zip(units, gain, offset, strict=True)
    ]


def _patch(form: Epitome, z: list[int], tensors: list[Tensor]) -> list[int]:
    """The numbers of a patch."""
    y = [0] * form.d if form.r else z
    for start in range(0, 10 * form.r, 10):
        a, a_, g, s, b, b_, c, c_, g_, s_ = tensors[start : start + 10]
        u = normalised([one + other for one, other in zip(linear(z, a, a_), y, strict=True)], g, s)
        v = linear([max(0, one) for one in linear(u, b, b_)], c, c_)
        y = normalised([one + other for one, other in zip(v, u, strict=True)], g_, s_)
    return linear(y, tensors[-2], tensors[-1], 10)


def _joined(form: Epitome, patches: Array) -> Array:
    (c, height, width), (rows, columns), (high, wide) = form.sample, form.grid, form.cut
    cut = patches.reshape(-1, rows, columns, c, high, wide).transpose(0, 3, 1, 4, 2, 5)
    return cut.reshape(-1, c, rows * high, columns * wide)[:, :, :height, :width]
