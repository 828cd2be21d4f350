"""Three ways to spend probabilities on symbols: write them, read them, or only count their bits.

All three share one method, so that the model that drives them is written once and cannot differ between
the encoder, the decoder and the estimate of a size.
"""

from __future__ import annotations

from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from fedbits.errors import CorruptError

Symbols = NDArray[np.int64]
Weights = NDArray[np.int64] | NDArray[np.float64]  # integers, in either

_FAMILY = constriction.stream.model.Categorical(perfect=False)


class SymbolCoder(Protocol):
    """Codes a batch of symbols, each under its own row of positive integer weights."""

    def code(self, symbols: Symbols | None, weights: Weights) -> Symbols:
        """``weights`` ``[m, levels]``; ``symbols`` ``[m]``, or None where they are to be read."""
        ...


class RangeWriter:
    """Encodes into one stream of 32-bit words, first in, first out."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def code(self, symbols: Symbols | None, weights: Weights) -> Symbols:
        if symbols is None:
            raise ValueError("a writer needs symbols")
        self._encoder.encode(symbols.astype(np.int32), _FAMILY, weights.astype(np.float64, copy=False))
        return symbols

    def bytes(self) -> bytes:
        """The stream so far, as little-endian words without trailing zero bytes."""
        return self._encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


class RangeReader:
    """Decodes what :class:`RangeWriter` wrote."""

    def __init__(self, stream: bytes) -> None:
        padded = stream + b"\0" * (-len(stream) % 4)
        words = np.frombuffer(padded, dtype="<u4").astype(np.uint32)
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def code(self, symbols: Symbols | None, weights: Weights) -> Symbols:
        try:
            decoded = self._decoder.decode(_FAMILY, weights.astype(np.float64, copy=False))
        except AssertionError as error:  # constriction's way of saying that no encoder writes these words
            raise CorruptError("the symbol stream is not one that an encoder could have written") from error
        return decoded.astype(np.int64)


class Meter:
    """Counts the bits a writer would spend, without writing."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, symbols: Symbols | None, weights: Weights) -> Symbols:
        if symbols is None:
            raise ValueError("a meter needs symbols")
        spent = weights[np.arange(len(symbols)), symbols] / weights.sum(axis=1)
        self.bits -= float(np.log2(spent).sum())
        return symbols
