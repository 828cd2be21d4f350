"""What the shipped entropy network makes symbols cost: for training, and for choosing cheaper symbols."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding.network import CERTAIN, Mixture
from fedbits.coding.neural import expectation
from fedbits.coding.view import MARGIN, View

_FEW = 16  # levels up to which tightening tries all symbols
_LEAST = 2.0**-16  # no symbol is held less likely


class NetworkRate:
    """Bits of each symbol and of the two beside it, under neighbours as they were when last measured.

    The gradient of a value is the difference, in bits, between taking the next symbol up and the next one
    down; the value itself counts as the symbol to which it rounds.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self._symbols = torch.zeros(0)
        self._bits = torch.zeros(0, 3)  # [..., 3]: of the symbol below, of the one measured, of the one above

    def refresh(self, symbols: NDArray[np.int64]) -> float:
        """Look at ``symbols`` ``[n, channels, height, width]``; returns the bits of all."""
        bits = np.empty((*symbols.shape, 3), np.float32)
        grid = _padded(symbols.shape)
        for view in _views(grid):
            here = symbols[:, view.channel, view.row, view.column]
            grid[:, view.channel, view.row + MARGIN, view.column + MARGIN] = here
            expected = expectation(view, self.levels)
            bits[:, view.channel, view.row, view.column] = _bits(expected, here[:, None] + np.arange(-1, 2))
        self._symbols, self._bits = torch.from_numpy(symbols).float(), torch.from_numpy(bits)
        return float(self._bits[..., 1].double().sum())

    def __call__(self, position: Tensor) -> Tensor:
        """Bits of symbols at ``position`` ``[n, channels, height, width]``, each in [0, levels-1]."""
        self._bits, self._symbols = self._bits.to(position.device), self._symbols.to(position.device)
        below, at, above = self._bits.unbind(-1)
        with torch.no_grad():
            moved = position - self._symbols
            rising = moved >= 0
            slope = torch.where(rising, above - at, at - below)
            spent = torch.where(moved > 0.5, above, torch.where(moved < -0.5, below, at)).sum()
        along = (slope * position).sum()
        return spent + (along - along.detach())


def tightened(position: NDArray[np.float64], levels: int, strength: float) -> NDArray[np.int64]:
    """Symbols for ``position`` ``[n, channels, height, width]``: least distance squared + strength × bits.

    Chosen in raster order, each under the neighbours chosen before it, as they will be coded. Of many levels,
    only the nearest five and the likeliest are tried.
    """
    grid = _padded(position.shape)
    for view in _views(grid):
        there = position[:, view.channel, view.row, view.column]
        expected = expectation(view, levels)
        options = np.broadcast_to(np.arange(levels), (len(there), levels))
        if levels > _FEW:
            near = np.rint(there).astype(np.int64)[:, None] + np.arange(-2, 3)
            likeliest = expected.means[expected.shares.argmax(axis=0), np.arange(len(there))] + 128 >> 8
            options = np.clip(np.column_stack([near, likeliest]), 0, levels - 1)
        cost = (there[:, None] - options) ** 2 + strength * _bits(expected, options)
        chosen = options[np.arange(len(options)), cost.argmin(axis=1)]
        grid[:, view.channel, view.row + MARGIN, view.column + MARGIN] = chosen
    return grid[:, :, MARGIN:, MARGIN:-MARGIN].astype(np.int64)


def _padded(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    n, channels, height, width = shape
    return np.zeros((n, channels, height + MARGIN, width + 2 * MARGIN), np.uint8)


def _views(grid: NDArray[np.uint8]) -> Iterator[View]:
    """Every position of all samples at once, in the order of coding."""
    n, channels, height, width = grid.shape
    labels = np.zeros(n, np.int64)
    for row, column, channel in np.ndindex(height - MARGIN, width - 2 * MARGIN, channels):
        yield View(grid, labels, slice(0, n), channel, row, column)


def _bits(expected: Mixture, symbols: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits of ``symbols`` ``[n, options]``."""
    likely = [expected.up_to(symbol) - expected.up_to(symbol - 1) for symbol in symbols.T]
    return -np.log2(np.maximum(np.stack(likely, axis=1) / CERTAIN, _LEAST))
