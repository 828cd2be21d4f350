"""What a coder of grids sees: one position of some samples, and what was coded before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int64]
GridShape = tuple[int, int, int, int]  # samples, channels, height, width
MARGIN = 2  # rows above, and columns on both sides, of a grid


@dataclass(frozen=True)
class View:
    """A slice of samples at one position, and their neighbours among the positions before it.

    Attributes:
        grid: ``[n, channels, height + MARGIN, width + 2 * MARGIN]`` uint8, what is known so far.
        labels: ``[n]``, the class of each sample.
    """

    grid: NDArray[np.uint8]
    labels: Symbols
    rows: slice
    channel: int
    row: int
    column: int

    def parts(self, most: int) -> Iterator[View]:
        """The same, of at most ``most`` samples at a time."""
        for start in range(self.rows.start, self.rows.stop, most):
            yield replace(self, rows=slice(start, min(start + most, self.rows.stop)))

    def at(self, up: int, left: int, channel: int | None = None) -> Symbols:
        """Symbols ``up`` rows above and ``left`` columns to the left (negative: to the right)."""
        where = self.channel if channel is None else channel
        there = self.grid[self.rows, where, self.row + MARGIN - up, self.column + MARGIN - left]
        return there.astype(np.int64)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.grid.shape[2] - MARGIN, self.grid.shape[3] - 2 * MARGIN

    def causal(self, channel: int | None = None) -> tuple[Symbols, Symbols, Symbols, Symbols]:
        """West, north, north-west, north-east; at a border, what lies nearest (zero for the first)."""
        width = self.size[1]
        west = self.at(0, 1, channel) if self.column else self.at(1, 0, channel)
        if not self.row:
            return west, west, west, west
        north = self.at(1, 0, channel)
        north_west = self.at(1, 1, channel) if self.column else north
        north_east = self.at(1, -1, channel) if self.column + 1 < width else north
        return west, north, north_west, north_east

    def outer(
        self, near: tuple[Symbols, Symbols, Symbols, Symbols], channel: int | None = None
    ) -> tuple[Symbols, ...]:
        """The second ring: WW, NN, NNE, NEE, NNW, NWW; outside the grid, the neighbour from ``near``."""
        west, north, north_west, north_east = near
        left, above, width = self.column, self.row, self.size[1]
        return (
            self.at(0, 2, channel) if left > 1 else west,
            self.at(2, 0, channel) if above > 1 else north,
            self.at(2, -1, channel) if above > 1 and left + 1 < width else north_east,
            self.at(1, -2, channel) if above and left + 2 < width else north_east,
            self.at(2, 1, channel) if above > 1 and left else north_west,
            self.at(1, 2, channel) if above and left > 1 else north_west,
        )

    def median_edge(self, channel: int | None = None) -> Symbols:
        """The median-edge prediction (LOCO-I)."""
        west, north, north_west, _ = self.causal(channel)
        low, high = np.minimum(west, north), np.maximum(west, north)
        return np.clip(west + north - north_west, low, high)

    def predicted(self, levels: int) -> Symbols:
        """The median-edge prediction, moved by how far it was off in the channel before."""
        predicted = self.median_edge()
        if self.channel == 0:
            return predicted
        before = self.channel - 1
        return np.clip(predicted + self.at(0, 0, before) - self.median_edge(before), 0, levels - 1)
