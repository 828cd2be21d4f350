"""Symbols as sequences of bits, each predicted by several contexts at once."""

from __future__ import annotations

import numpy as np

from fedbits.coding.mixing import BitMixer, Hashes
from fedbits.coding.range_coder import SymbolCoder, Symbols

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_CHANNELS = 31  # from here on, channels share what is learnt, but for contexts with a position
LARGEST_TABLE, _SMALLEST_TABLE = 18, 12  # log2 of the counters of each context


class SymbolTree:
    """Adaptive codes of symbols without an order: a binary tree of decisions, the highest bit first.

    Under every context, each node of the tree (what the bits so far are) has counts of its own; the opinions
    of all contexts are mixed. So the contexts may be many and detailed: one that has seen little says little.
    """

    def __init__(self, inputs: int, levels: int, symbols: int) -> None:
        """``inputs`` contexts of each symbol, of which there are at most ``symbols``, below ``levels``."""
        self._levels, self._depth = levels, (levels - 1).bit_length() if levels > 1 else 0
        table = min(max((symbols * self._depth - 1).bit_length(), _SMALLEST_TABLE), LARGEST_TABLE)
        self._mixer = BitMixer(inputs, max(self._depth, 1), 1, table)

    def code(self, coder: SymbolCoder, hashes: Hashes, symbols: Symbols | None) -> Symbols:
        """Code ``symbols`` ``[m]``, or read them, under ``hashes`` ``[inputs, m]``; ``m`` at most 2**14."""
        node = np.ones(hashes.shape[1], np.int64)
        selector = np.zeros_like(node)
        for depth in range(self._depth if len(node) else 0):
            bits = None if symbols is None else symbols >> (self._depth - 1 - depth) & 1
            under = hashes + node.astype(np.uint64)
            node = node << 1 | self._mixer.code(coder, depth, under, selector, bits)
        return np.minimum(node - (1 << self._depth), self._levels - 1)  # more is written by no encoder


def hashed(contexts: list[Symbols], channel: int) -> Hashes:
    """``[len(contexts), m]`` from contexts ``[m]``, 0 to 2**54 - 1; each kind, and each channel, apart."""
    kinds = np.arange(len(contexts), dtype=np.uint64)[:, None]
    salts = kinds | np.uint64(min(channel, _CHANNELS) << 5)
    return (np.stack(contexts).astype(np.uint64) << np.uint64(10) | salts) * _SPREAD


def place(row: int, column: int, channel: int, size: tuple[int, int], channels: int) -> int:
    """The number of a position, in the order in which positions are coded."""
    return (row * size[1] + column) * channels + channel
