"""Adaptive symbol statistics that back off from long contexts to short ones, in integers only.

Each context order keeps counts. The prediction of order k is its own counts smoothed towards the prediction
of order k-1 (as in hierarchical Dirichlet or PPM models), down to a fixed prior, so a context that was never
seen costs nothing, and one that was seen often decides alone. Everything that decides a probability is an
int64, so every machine computes the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SCALE = 1 << 20  # a probability of one; counts up to 2**40 stay exact in int64


@dataclass
class AdaptiveModel:
    """Counts of ``levels`` symbols under a chain of context orders, shortest first.

    Attributes:
        prior: ``[levels]`` positive integers summing to about :data:`SCALE`.
        sizes: number of contexts of each order.
        strength: how many observations the shorter order's opinion is worth.
    """

    prior: NDArray[np.int64]
    sizes: tuple[int, ...]
    strength: int = 2
    _counts: list[NDArray[np.int64]] = field(init=False)
    _totals: list[NDArray[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = [np.zeros((size, len(self.prior)), np.int64) for size in self.sizes]
        self._totals = [np.zeros(size, np.int64) for size in self.sizes]

    def weights(self, contexts: list[NDArray[np.int64]], batch: int) -> NDArray[np.int64]:
        """``[batch, levels]`` positive weights, given one context array ``[batch]`` per order."""
        prediction = np.broadcast_to(self.prior, (batch, len(self.prior)))
        for counts, totals, context in zip(self._counts, self._totals, contexts, strict=True):
            seen = counts[context] * SCALE + self.strength * prediction
            prediction = seen // (totals[context] + self.strength)[:, None]
        return prediction + 1

    def update(self, contexts: list[NDArray[np.int64]], symbols: NDArray[np.int64]) -> None:
        """Count a batch of symbols in every order."""
        for counts, totals, context in zip(self._counts, self._totals, contexts, strict=True):
            np.add.at(counts, (context, symbols), 1)
            np.add.at(totals, context, 1)


def uniform_prior(levels: int) -> NDArray[np.int64]:
    """Every symbol equally likely."""
    return np.full(levels, SCALE // levels, np.int64)


def residual_prior(levels: int) -> NDArray[np.int64]:
    """Small residuals modulo ``levels`` likelier than large ones, falling off as 1 / (2 + |r|)²."""
    residual = np.arange(levels)
    weight = SCALE // (2 + np.minimum(residual, levels - residual)) ** 2
    return np.maximum(weight * SCALE // weight.sum(), 1)
