"""Symbols of a large alphabet along a Huffman tree, each bit predicted by several contexts at once.

A prefix code of what symbols are expected to be frequent makes the tree: so common symbols take few
decisions, each decision starts near one half, and a symbol that was never seen costs about what was expected
of it. What contexts saw then moves every decision, as in :class:`fedbits.coding.tree.SymbolTree`.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.mixing import BitMixer, Hashes
from fedbits.coding.range_coder import SymbolCoder, Symbols

_SMALLEST_TABLE = 12  # log2 of the counters of each context
LARGEST_TABLE = 20


class PrefixCode:
    """The canonical Huffman code of symbols with ``weights`` ``[n]``, positive integers; ``n`` at least 2.

    Ties are broken by the order in which nodes were made, symbols first: the code follows from the weights
    alone. Attributes: ``lengths`` and ``codes`` ``[n]``; a shorter code is numerically before longer ones.
    """

    def __init__(self, weights: NDArray[np.int64]) -> None:
        self.lengths = _lengths(weights)
        self._order = np.lexsort((np.arange(len(weights)), self.lengths))
        counts = np.bincount(self.lengths)
        self.depth = len(counts) - 1
        self._first = np.zeros(self.depth + 1, np.int64)  # code of each length
        self._before = np.concatenate([[0], np.cumsum(counts)[:-1]])  # symbols with shorter codes
        for length in range(1, self.depth + 1):
            self._first[length] = (self._first[length - 1] + counts[length - 1]) << 1
        self._counts = counts
        places = np.empty(len(weights), np.int64)
        places[self._order] = np.arange(len(weights))
        self.codes = self._first[self.lengths] + places - self._before[self.lengths]

    def ended(self, length: int, codes: Symbols) -> tuple[NDArray[np.bool_], Symbols]:
        """Which ``codes`` ``[m]`` of ``length`` bits are whole, and the symbols of those."""
        place = codes - self._first[length]
        whole = place < self._counts[length]
        return whole, self._order[place[whole] + self._before[length]]


def _lengths(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of each symbol's code."""
    count = len(weights)
    heap = [(int(weight), node) for node, weight in enumerate(weights)]
    heapq.heapify(heap)
    above = [0] * (2 * count - 1)
    for node in range(count, 2 * count - 1):
        first, one = heapq.heappop(heap)
        second, other = heapq.heappop(heap)
        above[one] = above[other] = node
        heapq.heappush(heap, (first + second, node))
    depths = np.zeros(2 * count - 1, np.int64)
    for node in range(2 * count - 3, -1, -1):
        depths[node] = depths[above[node]] + 1
    return depths[:count]


class PrefixTree:
    """Adaptive codes of symbols along the tree of ``code``."""

    def __init__(self, code: PrefixCode, inputs: int, selectors: int, symbols: int) -> None:
        """``inputs`` contexts of each of at most ``symbols`` symbols; ``selectors`` sets of weights."""
        self._code = code
        table = min(max((symbols * 8).bit_length(), _SMALLEST_TABLE), LARGEST_TABLE)
        self._mixer = BitMixer(inputs, code.depth, selectors, table)

    def code(self, coder: SymbolCoder, hashes: Hashes, selector: Symbols, symbols: Symbols | None) -> Symbols:
        """Code ``symbols`` ``[m]``, or read them, under ``hashes`` ``[inputs, m]``; ``m`` at most 2**14."""
        found = np.zeros(hashes.shape[1], np.int64)
        who, prefix = np.arange(len(found)), np.zeros(len(found), np.int64)
        for depth in range(self._code.depth):
            if not len(who):
                break
            bits = None
            if symbols is not None:
                known = symbols[who]
                bits = self._code.codes[known] >> (self._code.lengths[known] - 1 - depth) & 1
            nodes = (prefix | 1 << depth).astype(np.uint64)
            bit = self._mixer.code(coder, depth, hashes[:, who] + nodes, selector[who], bits)
            prefix = prefix << 1 | bit
            whole, ended = self._code.ended(depth + 1, prefix)
            found[who[whole]] = ended
            who, prefix = who[~whole], prefix[~whole]
        return found
