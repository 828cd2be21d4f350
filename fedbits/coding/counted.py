"""Coders that count: each keeps adaptive frequencies of symbols under its own contexts."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedbits.coding.adaptive import AdaptiveModel, residual_prior, uniform_prior
from fedbits.coding.range_coder import SymbolCoder, Symbols
from fedbits.coding.view import GridShape, View


class Raw:
    """Every symbol equally likely: packed bits, for streams too short or too noisy to learn from."""

    grouped: ClassVar[bool] = False

    def __init__(self, shape: GridShape, levels: int) -> None:
        self._weights = uniform_prior(levels)

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        batch = view.rows.stop - view.rows.start
        return coder.code(symbols, np.broadcast_to(self._weights, (batch, len(self._weights))))


class OrderZero:
    """Symbol frequencies of each channel."""

    grouped: ClassVar[bool] = False

    def __init__(self, shape: GridShape, levels: int) -> None:
        self._models = [AdaptiveModel(uniform_prior(levels), (1,)) for _ in range(shape[1])]

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        batch = view.rows.stop - view.rows.start
        contexts = [np.zeros(batch, np.int64)]
        model = self._models[view.channel]
        coded = coder.code(symbols, model.weights(contexts, batch))
        model.update(contexts, coded)
        return coded


class Neighbours:
    """Frequencies under the neighbours west, north, north-west and north-east, and the channel before.

    Neighbours are reduced to at most ``fine`` levels where they count most and ``coarse`` elsewhere.
    """

    grouped: ClassVar[bool] = False

    def __init__(self, shape: GridShape, levels: int, fine: int = 8, coarse: int = 4) -> None:
        self._fine, self._coarse, self._levels = min(fine, levels), min(coarse, levels), levels
        first, third = self._fine**2, self._coarse**2
        sizes = (1, first, first * third)
        self._models = [
            AdaptiveModel(uniform_prior(levels), sizes if c == 0 else (self._fine, first, first * third))
            for c in range(min(shape[1], 2))
        ]

    def _reduce(self, symbols: Symbols, to: int) -> Symbols:
        return symbols * to // self._levels

    def _contexts(self, view: View) -> list[Symbols]:
        west, north, north_west, north_east = view.causal()
        w, n = self._reduce(west, self._fine), self._reduce(north, self._fine)
        if view.channel == 0:
            pair = w * self._fine + n
            nw, ne = self._reduce(north_west, self._coarse), self._reduce(north_east, self._coarse)
            return [np.zeros_like(w), pair, (pair * self._coarse + nw) * self._coarse + ne]
        before = self._reduce(view.at(0, 0, view.channel - 1), self._fine)
        predicted = view.predicted(self._levels)
        pair = before * self._fine + self._reduce(predicted, self._fine)
        w, n = self._reduce(west, self._coarse), self._reduce(north, self._coarse)
        return [before, pair, (pair * self._coarse + w) * self._coarse + n]

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        contexts = self._contexts(view)
        model = self._models[min(view.channel, 1)]
        coded = coder.code(symbols, model.weights(contexts, len(contexts[0])))
        model.update(contexts, coded)
        return coded


_POWERS = 1 << np.arange(16)


class MedianEdge:
    """Residuals of the median-edge predictor (LOCO-I), under the activity around them."""

    grouped: ClassVar[bool] = False

    BUCKETS = 10

    def __init__(self, shape: GridShape, levels: int) -> None:
        self._levels = levels
        self._models = [
            AdaptiveModel(residual_prior(levels), (1, self.BUCKETS), strength=4)
            for _ in range(min(shape[1], 2))
        ]

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        west, north, north_west, north_east = view.causal()
        activity = abs(west - north_west) + abs(north_west - north) + abs(north - north_east)
        bucket = np.minimum(np.searchsorted(_POWERS, activity + 1), self.BUCKETS - 1)
        contexts = [np.zeros_like(bucket), bucket]
        predicted = view.predicted(self._levels)
        model = self._models[min(view.channel, 1)]
        residual = None if symbols is None else (symbols - predicted) % self._levels
        coded = coder.code(residual, model.weights(contexts, len(bucket)))
        model.update(contexts, coded)
        return (coded + predicted) % self._levels
