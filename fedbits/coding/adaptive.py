"""Adaptive symbol statistics that back off from long contexts to short ones, in integers only.

Each context order keeps counts. The prediction of order k is its own counts smoothed towards the prediction
of order k-1 (as in hierarchical Dirichlet or PPM models), down to a fixed prior, so a context that was never
seen costs nothing, and one that was seen often decides alone.

Everything that decides a probability is an integer, held in float64, which divides several times faster than
int64: integers below 2**53 are exact, and a quotient below 2**21 by a divisor below 2**32 is at least one
2**-32 short of the next integer, more than its rounding can cover. So its floor is exact on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Exact = NDArray[np.float64]  # holding integers

SCALE = 1 << 20  # a probability of one; counts up to 2**32 stay exact


@dataclass
class AdaptiveModel:
    """Counts of ``levels`` symbols under a chain of context orders, shortest first.

    Attributes:
        prior: ``[levels]`` positive integers summing to about :data:`SCALE`.
        sizes: number of contexts of each order. Each is a multiple of the one before: context i of an order
            is a case of context ``i * size before // size`` of the order before.
        strength: how many observations the shorter order's opinion is worth.
    """

    prior: NDArray[np.int64]
    sizes: tuple[int, ...]
    strength: int = 2
    _counts: list[Exact] = field(init=False)
    _totals: list[Exact] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = [np.zeros((size, len(self.prior))) for size in self.sizes]
        self._totals = [np.zeros(size) for size in self.sizes]

    def weights(self, contexts: list[NDArray[np.int64]], batch: int) -> Exact:
        """``[batch, levels]`` positive integers, given one context array ``[batch]`` per order."""
        prediction: Exact = self.prior.astype(np.float64)[None]  # of all contexts of an order, as long as ...
        rows: NDArray[np.int64] | None = np.zeros(batch, np.int64)  # ... these say which; then of all symbols
        for counts, totals, context in zip(self._counts, self._totals, contexts, strict=True):
            if rows is not None and len(counts) <= batch:
                shorter = np.repeat(prediction, len(counts) // len(prediction), axis=0)
                seen, total, rows = counts.copy(), totals, context
            else:
                shorter = prediction if rows is None else prediction[rows]
                seen, total, rows = counts[context], totals[context], None
            seen *= SCALE  # in place, here and below: batches are large
            shorter *= self.strength
            seen += shorter
            seen /= (total + self.strength)[:, None]
            prediction = np.floor(seen, out=seen)
        prediction += 1
        return prediction if rows is None else prediction[rows]

    def update(self, contexts: list[NDArray[np.int64]], symbols: NDArray[np.int64]) -> None:
        """Count a batch of symbols in every order."""
        for counts, totals, context in zip(self._counts, self._totals, contexts, strict=True):
            np.add.at(counts.reshape(-1), context * len(self.prior) + symbols, 1.0)  # one index is faster
            np.add.at(totals, context, 1.0)


def uniform_prior(levels: int) -> NDArray[np.int64]:
    """Every symbol equally likely."""
    return np.full(levels, SCALE // levels, np.int64)


def residual_prior(levels: int) -> NDArray[np.int64]:
    """Small residuals modulo ``levels`` likelier than large ones, falling off as ``1 / (2 + |r|)²``."""
    residual = np.arange(levels)
    weight = SCALE // (2 + np.minimum(residual, levels - residual)) ** 2
    return np.maximum(weight * SCALE // weight.sum(), 1)
