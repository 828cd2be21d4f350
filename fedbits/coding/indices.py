"""The coder of symbols without an order, such as indices of a vector quantiser."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fedbits.coding.range_coder import SymbolCoder, Symbols
from fedbits.coding.tree import SymbolTree, hashed, place
from fedbits.coding.view import GridShape, View


class Indices:
    """Frequencies of each position and class, under the neighbours' exact symbols.

    No symbol counts as near to another. Grids of one row have the position, the class and the two symbols to
    the left; others also the neighbours above; with several channels, also what the channel before has there.
    """

    grouped: ClassVar[bool] = True

    def __init__(self, shape: GridShape, levels: int) -> None:
        _, self._channels, height, _ = shape
        self._rows = height > 1
        inputs = 7 + 7 * self._rows + 3 * (self._channels > 1)
        self._tree = SymbolTree(inputs, levels, math.prod(shape))

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        return self._tree.code(coder, hashed(self._contexts(view), view.channel), symbols)

    def _contexts(self, view: View) -> list[Symbols]:
        west, north, north_west, north_east = view.causal()
        west_west = view.at(0, 2) if view.column > 1 else west
        label = view.labels[view.rows]
        at = place(view.row, view.column, view.channel, view.size, self._channels)
        position = np.full(len(west), at)
        contexts = [
            position,
            label,
            label << 26 | position,
            west,
            west << 26 | position,
            west << 8 | west_west,
            west << 26 | label,
        ]
        if self._rows:
            cross = west << 8 | north
            contexts += [
                north,
                north << 26 | position,
                cross,
                cross << 8 | north_west,
                north << 8 | north_east,
                north << 26 | label,
                cross << 26 | label,
            ]
        if self._channels > 1:
            before = view.at(0, 0, view.channel - 1) if view.channel else np.zeros_like(west)
            contexts += [before, before << 26 | position, before << 8 | west]
        return contexts
