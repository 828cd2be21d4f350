"""The range decoder, and what lies around a symbol: sections 5, 6.7 and 6.8 of docs/format.md.

Part of the independent reader (reader.py), and like it written from the document alone.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int, int]  # samples, channels, height, width


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


# --- Sections 6.7 and 6.8: neighbours and the prediction ----------------------------------------------------


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
