"""A network that labels views for the independent reader: section 4.8 of docs/format.md.

Part of reader.py, and like it written from the document alone. Real numbers are binary64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from golden.reader_epitome import batches, weights_work
from golden.reader_labels import ViewLabels
from golden.reader_range import Array, RangeDecoder, left_cumulatives, require
from golden.reader_weights import Weights

STAGES = ((1, 2, 1), (2, 2, 1), (2, 4, 2), (4, 4, 1))  # p and q in widths, and t
MLP, CONVNET = 0, 1


@dataclass
class Labeller:
    """What the message declares, by its names in the document, for samples of ``shape`` and ``classes``."""

    kind: int
    width: int
    seed: int
    cropped: int
    rotation: int
    mirrored: bool
    mix: int
    temperature: int
    stream: bytes
    known: bytes
    shape: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        ranges = [(self.kind, 0, 1), (self.width, 1, 1024), (self.cropped, 0, 63), (self.rotation, 0, 45)]
        ranges += [(self.mix, 0, 2), (self.temperature, 0, 1024)]
        require(all(least <= value <= most for value, least, most in ranges), "no such network")
        require(self.kind == MLP or len(self.shape) == 3, "a convnet of flat samples")
        require(len(self.known) in (0, 1, self.classes), "known of another number of classes")

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        w, k = self.width, self.classes
        if self.kind == MLP:
            return [(w, math.prod(self.shape)), (w,), (w, w), (w,), (k, w), (k,)]
        found: list[tuple[int, ...]] = [(w, self.shape[0], 3, 3), (w,)]
        for p, q, _ in STAGES:
            found += [(p * w, 1, 3, 3), (q * w, p * w), (q * w,)]
        return [*found, (k, 4 * w), (k,)]

    def limited(self) -> tuple[int, int, int]:
        """Section 9: numbers, parameters and work that count besides those of the samples."""
        sizes = [math.prod(shape) for shape in self.shapes]
        return 6 * sum(sizes), sum(sizes), sum(weights_work(size) for size in sizes)

    @cached_property
    def tensors(self) -> list[tuple[Array, int]]:
        """Each with its f."""
        work = sum(250 * (2 + batches(math.prod(shape))) + 2 * math.prod(shape) for shape in self.shapes)
        require(len(self.stream) >= max(0, -(-(work - 2**22) // 2**13)), "tensors that are too short")
        weights = Weights(RangeDecoder(self.stream).decode, left_cumulatives)
        return [weights.tensor(shape) for shape in self.shapes]

    def views(self, counts: list[int]) -> ViewLabels:
        """Those of ``counts`` samples of each class; of labels that do not matter."""
        shaped = (2**32 - 1, self.seed, self.cropped, self.mirrored, self.mix, self.temperature)
        return ViewLabels(*shaped, 1, 0, 0, 2, False, self.rotation, b"", b"", counts)

    def label(self, view: Array) -> Array:
        """Of one view ``[*shape]``."""
        reals = [values * 2.0 ** -(f - 16) for values, f in self.tensors]
        z = self._mlp(reals, view) if self.kind == MLP else self._convnet(reals, view)
        powers = np.exp((z - z.max()) / ((self.temperature or 16) / 16))
        return powers / powers.sum()

    def _mlp(self, reals: list[Array], x: Array) -> Array:
        a_, a, b_, b, c_, c = reals
        return c_ @ np.maximum(b_ @ np.maximum(a_ @ x.reshape(-1) + a, 0) + b, 0) + c

    def _convnet(self, reals: list[Array], x: Array) -> Array:
        stem = np.stack([sum(_conv(one[i], x[i], 2) for i in range(len(x))) for one in reals[0]])
        v = _normed(stem, reals[1])
        for number, (p, q, t) in enumerate(STAGES):
            each, across, bias = reals[2 + 3 * number : 5 + 3 * number]
            moved = np.stack([_conv(one[0], channel, t) for one, channel in zip(each, v, strict=True)])
            u = _normed(np.einsum("qp,pyx->qyx", across, moved), bias)
            v = v + u if p == q and t == 1 else u
        return reals[-2] @ v.mean((1, 2)) + reals[-1]


def _conv(weights: Array, x: Array, t: int) -> Array:
    """Of one channel."""
    height, width = x.shape
    framed = np.pad(x, 1)
    return sum(
        weights[a, b] * framed[a : a + height : t, b : b + width : t] for a in range(3) for b in range(3)
    )


def _normed(y: Array, bias: Array) -> Array:
    return np.maximum((y - y.mean()) / np.sqrt(y.var() + 1e-5) + bias[:, None, None], 0)
