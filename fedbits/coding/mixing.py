"""Logistic mixing of adaptive bit models, in integers only (the idea of PAQ; Mahoney, 2005).

Every binary decision is predicted by several contexts at once. A context's opinion is the logit of its own
counts, ln((n1 + 0.4) / (n0 + 0.4)); the opinions are summed under weights that depend on the decision, on a
selector, and on how much each context has seen, and that learn online from the error of the sum. Logits have
12 fractional bits, weights and probabilities 16. A batch of decisions is predicted from what was known before
it, and then learnt from as a whole.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.range_coder import SymbolCoder, Symbols

Hashes = NDArray[np.uint64]

ONE = 1 << 16  # a probability of one
_LOGIT_BITS = 12
_TABLE_BITS = 8  # fractional bits of the logits at which probabilities are tabulated
_LARGEST = 2800  # the largest tabulated logit: probabilities stay within [1, ONE - 1]
_COUNTS = 1024  # counts are below this
_FORGET = 30  # observations after which a context's counts are halved
_BUCKETS = 8  # of confidence: by how much a context has seen
_RATE, _FIRST_RATE, _SETTLED = 131, 524, 20_000  # 16 fractional bits; decisions until the rate has fallen
_CONTEXTS_TRUST, _GIVEN_TRUST = 52428, 39322  # first weights beside a given logit: 0.8 and 0.6
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: multiplying by it spreads bits upwards


def _log_counts() -> NDArray[np.int64]:
    """Logits of counts: entry n is ln(5 n + 2), so that the difference of two is a logit."""
    return np.array([round(math.log(5 * n + 2) * (1 << _LOGIT_BITS)) for n in range(_COUNTS)], np.int64)


def _probabilities() -> NDArray[np.int64]:
    """Probabilities of the logits from -:data:`_LARGEST` to :data:`_LARGEST`."""
    scale = 1 << _TABLE_BITS
    logits = range(-_LARGEST, _LARGEST + 1)
    return np.array([round(ONE / (1 + math.exp(-logit / scale))) for logit in logits], np.int64)


def _confidence() -> NDArray[np.int64]:
    """The bucket of a total count n: 1.5 log2(n + 1), rounded down."""
    bounds = [math.ceil(2 ** (2 * bucket / 3) - 1e-9) - 1 for bucket in range(1, _BUCKETS)]
    return np.searchsorted(bounds, np.arange(2 * _COUNTS), side="right")


_LOG_COUNTS, _PROBABILITIES, _CONFIDENCE = _log_counts(), _probabilities(), _confidence()


class BitMixer:
    """Codes binary decisions, each under ``inputs`` hashed contexts, and perhaps a logit that is given."""

    def __init__(
        self, inputs: int, decisions: int, selectors: int, slots_log2: int, given: bool = False
    ) -> None:
        """``decisions`` kinds of them, ``selectors`` sets of weights for each; 2**slots_log2 counters."""
        self._shift = np.uint64(64 - slots_log2)
        self._offsets = (np.arange(inputs, dtype=np.int64) << slots_log2)[:, None]
        self._zeros = np.zeros(inputs << slots_log2, np.int16)
        self._ones = np.zeros(inputs << slots_log2, np.int16)
        trust = ONE * 13 * (21 + 9 * np.arange(_BUCKETS)) // (700 * inputs)  # 0.39 to 1.56 over ``inputs``
        weights = np.tile(trust, (inputs, 1))
        if given:
            own = np.full((1, _BUCKETS), _GIVEN_TRUST)
            weights = np.concatenate([weights * _CONTEXTS_TRUST >> 16, own])
        self._weights = np.tile(weights, (decisions, selectors, 1))
        self._inputs = (np.arange(len(weights), dtype=np.int64) * _BUCKETS)[:, None]
        self._seen = 0

    def code(
        self,
        coder: SymbolCoder,
        decision: int,
        hashes: Hashes,
        selector: Symbols,
        bits: Symbols | None,
        given: Symbols | None = None,
    ) -> Symbols:
        """Code ``bits`` ``[m]``, or read them, under ``hashes`` ``[inputs, m]`` and ``selector`` ``[m]``.

        ``given`` ``[m]`` is one more opinion, a logit of 12 fractional bits. ``m`` is at most 2**14: counts
        of a batch must fit int16.
        """
        slots = (((hashes + np.uint64(decision)) * _SPREAD) >> self._shift).astype(np.int64) + self._offsets
        zeros, ones = self._zeros[slots], self._ones[slots]
        logits = _LOG_COUNTS[ones] - _LOG_COUNTS[zeros]
        confidence = _CONFIDENCE[zeros + ones]
        if given is not None:
            logits = np.concatenate([logits, given[None]])
            confidence = np.concatenate([confidence, np.zeros_like(given)[None]])
        places = self._inputs + selector * (len(logits) * _BUCKETS) + confidence
        weights = self._weights[decision].reshape(-1)
        mixed = (weights[places] * logits).sum(axis=0) >> (16 + _LOGIT_BITS - _TABLE_BITS)
        predicted = _PROBABILITIES[np.clip(mixed, -_LARGEST, _LARGEST) + _LARGEST]
        coded = coder.code(bits, np.stack([ONE - predicted, predicted], axis=1))
        self._learn(weights, places, logits, (coded << 16) - predicted)
        self._count(slots, coded)
        return coded

    def _learn(self, weights: Symbols, places: Symbols, logits: Symbols, errors: Symbols) -> None:
        """One step against the gradient, summed over the batch and divided by the root of its size."""
        rate = _RATE + _FIRST_RATE * _SETTLED // (_SETTLED + self._seen)
        self._seen += len(errors)
        flat = places.ravel()
        # In float64, sums of integers below 2**53 are exact in any order, and IEEE 754 leaves no choice in
        # how a product, a root or a quotient is rounded: every machine computes the same.
        gradient = np.bincount(flat, (logits * errors).ravel(), minlength=len(weights))
        shares = np.sqrt(np.maximum(np.bincount(flat, minlength=len(weights)), 1))
        weights += np.floor(gradient * rate / shares).astype(np.int64) >> (16 + _LOGIT_BITS)

    def _count(self, slots: Symbols, bits: Symbols) -> None:
        """Count the bits; counts that grew past :data:`_FORGET` are halved, so that old ones fade."""
        one = bits == 1
        np.add.at(self._ones, slots[:, one].ravel(), 1)
        np.add.at(self._zeros, slots[:, ~one].ravel(), 1)
        flat = slots.ravel()
        limit = _FORGET
        while True:
            flat = flat[self._ones[flat] + self._zeros[flat] > limit]
            if not len(flat):
                return
            halves = (self._zeros[flat] + 1) >> 1, (self._ones[flat] + 1) >> 1
            self._zeros[flat], self._ones[flat] = halves
            limit = _COUNTS - 1
