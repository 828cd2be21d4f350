"""The coder that trusts the shipped network alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from fedbits.coding.network import Mixture, prior
from fedbits.coding.range_coder import SymbolCoder, Symbols
from fedbits.coding.surroundings import surroundings
from fedbits.coding.view import GridShape, View

AT_ONCE = 16  # symbols, or groups of symbols, that one step chooses from
_PART = 1 << 15  # symbols for which a network is evaluated at once
_ROUNDING = 8  # bits of a mixture's probabilities that the range coder does without


def expectation(view: View, levels: int) -> Mixture:
    """What the shipped network expects at ``view``."""
    seen = surroundings(view, levels)
    return prior(view.grid.shape[1]).mixture(seen.inputs, seen.centre, seen.octave, levels)


class Neural:
    """Each symbol under what the shipped network expects."""

    grouped: ClassVar[bool] = False

    def __init__(self, shape: GridShape, levels: int) -> None:
        self._levels = levels

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        return code_view(coder, view, symbols, self._levels, lambda part: expectation(part, self._levels))


def code_view(
    coder: SymbolCoder,
    view: View,
    symbols: Symbols | None,
    levels: int,
    expect: Callable[[View], Mixture],
) -> Symbols:
    """Code ``symbols`` at ``view``, or read them, as a network expects them.

    Up to 16 levels a stream does not depend on how many symbols are coded at once: few enough, then, for what
    the network computes to stay small. (Of more levels, batches are no larger than that anyway.)
    """
    if levels > AT_ONCE:
        return code_symbols(coder, expect(view), symbols)
    coded, first = [], view.rows.start
    for part in view.parts(_PART):
        known = None if symbols is None else symbols[part.rows.start - first : part.rows.stop - first]
        coded.append(code_symbols(coder, expect(part), known))
    return np.concatenate(coded)


def code_symbols(coder: SymbolCoder, expected: Mixture, symbols: Symbols | None) -> Symbols:
    """Code ``symbols`` ``[n]``, or read them, as ``expected``; of more than 16 levels, in two steps."""
    last, start = expected.levels - 1, np.zeros(expected.means.shape[1], np.int64)
    size = last // AT_ONCE + 1
    if size > 1:
        groups = None if symbols is None else symbols // size
        start = coder.code(groups, _weights(expected, start, size, last // size + 1)) * size
    within = None if symbols is None else symbols - start
    count = size if size > 1 else last + 1
    return np.minimum(start + coder.code(within, _weights(expected, start, 1, count)), last)


def _weights(expected: Mixture, start: Symbols, size: int, count: int) -> Symbols:
    """Weights ``[n, count]`` of consecutive groups of ``size`` symbols, the first of them at ``start``."""
    edges = [expected.up_to(start + size * group - 1) for group in range(count + 1)]
    spans = np.diff(np.stack(edges, axis=1), axis=1).astype(np.int64)
    return (spans >> _ROUNDING) + (1 << _ROUNDING)
