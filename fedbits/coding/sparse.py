"""The coder of grids in which one symbol is nearly everywhere: where others are, then what they are."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.range_coder import SymbolCoder, Symbols
from fedbits.coding.tree import SymbolTree, hashed, place
from fedbits.coding.view import GridShape, View

# Rows up and columns left of the neighbours W, N, NW, NE, WW, NN, NNE, NEE, NNW, NWW.
_RING = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, -1), (1, -2), (2, 1), (1, 2))
_WEIGHTS = np.array([2, 2, 1, 1, 1, 1])[:, None]  # of the first six in what is called activity
_CELLS = 8  # coarse rows, and columns, of positions
_MOST = 255


class Sparse:
    """A bitmap of what is not the most frequent symbol so far, and the values of those that are set.

    The bit of a position is predicted by the bits around it, by how often it is set (in its class), and by
    how many bits of its sample are set already. Values cost nothing where nothing is set.
    """

    grouped: ClassVar[bool] = True

    def __init__(self, shape: GridShape, levels: int) -> None:
        self._levels, self._channels, symbols = levels, shape[1], math.prod(shape)
        self._bitmap = SymbolTree(9, 2, symbols)
        self._values = SymbolTree(7 + (self._channels > 1), levels - 1, symbols)
        self._frequencies = np.zeros(levels, np.int64)
        self._set = np.zeros(shape[0], np.int64)  # bits of each sample that are set so far

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        usual = int(self._frequencies.argmax())  # the smallest of several
        bitmap, values = self._contexts(view, usual)
        others = None if symbols is None else (symbols != usual).astype(np.int64)
        found = self._bitmap.code(coder, hashed(bitmap, view.channel), others)
        who = np.flatnonzero(found)
        known = None if symbols is None else (symbols[who] - usual - 1) % self._levels
        steps = self._values.code(coder, hashed(values, view.channel)[:, who], known)
        coded = np.full(len(found), usual)
        coded[who] = (usual + 1 + steps) % self._levels
        self._frequencies += np.bincount(coded, minlength=self._levels)
        self._set[view.rows] += found
        return coded

    def _contexts(self, view: View, usual: int) -> tuple[list[Symbols], list[Symbols]]:
        """Those of the bitmap, and those of the values."""
        around = np.stack([_symbol(view, up, left, usual) for up, left in _RING])
        ring = (around != usual) << np.arange(len(_RING))[:, None]
        activity = np.minimum((abs(around[:6] - usual) * _WEIGHTS).sum(axis=0), _MOST)
        label, so_far = view.labels[view.rows], np.minimum(self._set[view.rows], _MOST)
        at = place(view.row, view.column, view.channel, view.size, self._channels)
        position, (height, width) = np.full(len(label), at), view.size
        cell = np.full(len(label), view.row * _CELLS // height * _CELLS + view.column * _CELLS // width)
        before = view.at(0, 0, view.channel - 1) if view.channel else np.full(len(label), usual)
        follows = (before != usual).astype(np.int64)
        bitmap = [
            np.zeros_like(label),
            position,
            label << 26 | position,
            follows << 10 | ring.sum(axis=0),
            follows << 8 | activity,
            so_far << 8 | cell,
            so_far << 26 | position,
            label << 7 | follows << 6 | ring[:6].sum(axis=0),
            activity << 8 | min(view.row + view.column, _MOST),
        ]
        values = [
            np.zeros_like(label),
            position,
            label << 26 | position,
            activity,
            cell,
            label << 16 | around[0] << 8 | around[1],
            around[0] << 26 | position,
        ]
        if self._channels > 1:
            values.append(before << 8 | around[0])
        return _with(bitmap, usual), _with(values, usual)


def _symbol(view: View, up: int, left: int, outside: int) -> Symbols:
    if view.row >= up and 0 <= view.column - left < view.size[1]:
        return view.at(up, left)
    return np.full(view.rows.stop - view.rows.start, outside)


def _with(contexts: list[Symbols], usual: int) -> list[NDArray[np.int64]]:
    """What is learnt about one usual symbol says nothing about another."""
    return [context << 8 | usual for context in contexts]
