"""Latents in fewer bits, where they are worth little."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.network import CERTAIN, Mixture
from fedbits.parameterization.latent.prediction import Predictor

_LEAST = 2.0**-16  # no latent is held less likely


def tightened_latents(
    predictor: Predictor, positions: NDArray[np.float64], classes: NDArray[np.int64], strength: float
) -> NDArray[np.int64]:
    """Integers for ``positions`` ``[n, latents]``: least squared distance + ``strength`` × bits.

    Chosen in the order of coding, each under those chosen before it, among the nearest, the next one nearer
    to zero, the likeliest, and zero.
    """
    n, size = positions.shape
    known, who = np.zeros((size + 1, n), np.int64), np.arange(n)
    for place in range(size):
        there, expected = positions[:, place], predictor.expect(known, place, classes)
        nearest = np.rint(there).astype(np.int64)
        likeliest = (expected.means[expected.shares.argmax(axis=0), who] + 128 >> 8) - predictor.reach
        options = np.stack([nearest, nearest - np.sign(nearest), likeliest, np.zeros_like(nearest)], axis=1)
        options = np.clip(options, -predictor.reach, predictor.reach)
        bits = _bits(expected, options + predictor.reach)
        cost = (there[:, None] - options) ** 2 + strength * bits
        known[place] = options[who, cost.argmin(axis=1)]
    return known[:size].T


def _bits(expected: Mixture, symbols: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits of ``symbols`` ``[n, options]``."""
    likely = [expected.up_to(symbol) - expected.up_to(symbol - 1) for symbol in symbols.T]
    return -np.log2(np.maximum(np.stack(likely, axis=1) / CERTAIN, _LEAST))
