"""Differentiable estimates of what a grid of symbols costs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

REFRESH = 10  # steps between two looks at the symbols, which move slowly
EXACT_EVERY = 20  # looks between two measurements by the best coder, which take long
_REDUCED = 8  # levels to which neighbours are reduced, as the coder does
_STRENGTH = 2.0  # observations that the context-free frequencies are worth


class Rate(Protocol):
    """Bits of symbols, differentiable with respect to their positions between the levels."""

    def refresh(self, symbols: NDArray[np.int64]) -> float:
        """Look at ``symbols`` ``[n, channels, height, width]``; returns the bits of all."""
        ...

    def __call__(self, position: Tensor) -> Tensor:
        """Bits of symbols at ``position`` ``[n, channels, height, width]``, each in [0, levels-1]."""
        ...


class ContextRate:
    """Static frequencies under west and north neighbours: for samples that are no images.

    The gradient of a value between two levels is the difference, in bits, between taking the next symbol up
    and the next one down; the value itself counts as the symbol to which it rounds.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self._reduced = min(levels, _REDUCED)
        self._bits: Tensor | None = None  # [contexts, levels]

    def refresh(self, symbols: NDArray[np.int64]) -> float:
        """Learn the frequencies of ``symbols`` ``[n, channels, height, width]``; returns the bits of all."""
        grid = torch.from_numpy(symbols)
        size = (self._reduced**2, self.levels)
        pairs = self.contexts(grid).flatten() * self.levels + grid.flatten()
        counts = torch.bincount(pairs, minlength=size[0] * size[1]).view(size).double()
        marginal = (counts.sum(0) + 0.5) / (counts.sum() + 0.5 * self.levels)
        smoothed = (counts + _STRENGTH * marginal) / (counts.sum(1, keepdim=True) + _STRENGTH)
        self._bits = -torch.log2(smoothed).float()
        return float(self._bits.flatten()[pairs].double().sum())

    def bits(self, contexts: Tensor) -> Tensor:
        """Bits of every symbol, ``[..., levels]``, under each of ``contexts``."""
        if self._bits is None:
            raise RuntimeError("refresh comes first")
        return self._bits.to(contexts.device)[contexts]

    def contexts(self, symbols: Tensor) -> Tensor:
        """What is known of each of ``symbols`` ``[n, channels, height, width]`` before it is coded."""
        west = torch.nn.functional.pad(symbols, (1, 0))[..., :-1]
        north = torch.nn.functional.pad(symbols, (0, 0, 1, 0))[..., :-1, :]
        return self.context(west, north)

    def context(self, west: Tensor, north: Tensor) -> Tensor:
        """The number of the context that two neighbours make."""
        reduce = self._reduced / self.levels  # both are powers of two: exact
        return (west * reduce).long() * self._reduced + (north * reduce).long()

    def __call__(self, position: Tensor) -> Tensor:
        """Bits of symbols at ``position`` ``[n, channels, height, width]``, each in [0, levels-1]."""
        with torch.no_grad():
            symbols = position.round().long()
            contexts = self.contexts(symbols)
            below = position.floor().clamp(max=self.levels - 2).long()
        rows = self.bits(contexts)
        low = rows.gather(-1, below[..., None])[..., 0]
        high = rows.gather(-1, below[..., None] + 1)[..., 0]
        slope = ((high - low) * position).sum()
        spent = rows.gather(-1, symbols[..., None]).sum()
        return spent + (slope - slope.detach())
