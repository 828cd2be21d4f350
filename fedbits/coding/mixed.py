"""The coder that mixes what a network expects with contexts: neighbours, position and class together."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.mixing import BitMixer, Hashes
from fedbits.coding.network import CERTAIN, Mixture, logit, prior
from fedbits.coding.range_coder import SymbolCoder, Symbols
from fedbits.coding.surroundings import Surroundings, surroundings
from fedbits.coding.view import View

_FINE = 16  # levels to which neighbours are reduced in contexts of several
_CELLS = 5  # coarse rows, and columns, of positions
_SELECTORS = 16
_UNARY = 8  # distances from the prediction that are coded one by one
_EQUAL, _UPWARDS, _FARTHER, _PREFIX, _MANTISSA, _DECISIONS = 0, 1, 1, 9, 17, 45
_DOWN = np.uint64(0xD6E8FEB86659FD93)  # sets the contexts of values below the prediction apart
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_LARGEST_TABLE, _SMALLEST_TABLE = 18, 12  # log2 of the counters of each context


Answers = NDArray[np.bool_] | Symbols


class Mixed:
    """How far a symbol is from its prediction, decision by decision, under sixteen contexts and a network.

    Contexts are neighbours in several arrangements, the position, the class of the sample, and in further
    channels what the channels before have there. The network knows images, the contexts learn this set.
    """

    grouped: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, int, int, int], levels: int) -> None:
        symbols = int(np.prod(shape))
        table = min(max((symbols - 1).bit_length(), _SMALLEST_TABLE), _LARGEST_TABLE)
        self._levels, self._channels = levels, min(shape[1], 3)
        inputs = 16 if shape[1] == 1 else 20
        self._mixer = BitMixer(inputs, self._channels * _DECISIONS, _SELECTORS, table, given=True)
        self._network = prior(shape[1])
        self._salts = np.arange(inputs, dtype=np.uint64)[:, None]

    def code(self, coder: SymbolCoder, view: View, symbols: Symbols | None) -> Symbols:
        seen = surroundings(view, self._levels)
        expected = self._network.mixture(seen.inputs, seen.centre, seen.octave, self._levels)
        hashes, selector = self._contexts(view, seen)
        channel = min(view.channel, 2)
        decide = _Decisions(coder, self._mixer, expected, hashes, selector, channel * _DECISIONS)
        return decide.symbols(seen.centre, symbols)

    def _contexts(self, view: View, seen: Surroundings) -> tuple[Hashes, Symbols]:
        predicted, near, activity = seen.centre, seen.near, seen.activity
        ww, nn, nne, nee, nnw, nww = (self._reduce(value) for value in seen.outer)
        selector = np.minimum(_bit_length(activity * 32 // self._levels), _SELECTORS - 1)
        w, n, nw, ne = (self._reduce(value) for value in near)
        p, label = self._reduce(predicted), view.labels[view.rows]
        position = view.row << 12 | view.column
        cell = view.row * _CELLS // view.size[0] * _CELLS + view.column * _CELLS // view.size[1]
        before = self._before(view)
        cross = w | n << 4
        square = cross | nw << 8 | ne << 12
        ring = square | ww << 16 | nn << 20
        contexts = [
            np.zeros_like(w),
            position << 4 | p,
            cross | before << 8,
            square | before << 16,
            cross | ww << 8 | nn << 12 | before << 16,
            predicted << 4 | selector,
            ring | before << 24 | p << 28,
            n | ne << 4 | nne << 8 | p << 12,
            activity << 4 | p,
            nn | ww << 4 | p << 8,
            ring | nne << 24 | nee << 28 | nnw << 32 | nww << 36 | before << 40,
            label << 8 | cross,
            label << 12 | cell << 4 | p,
            label << 24 | position,
            (label << 24 | position) << 4 | p,
            position << 8 | cross,
            *self._between_channels(view, near, predicted),
        ]
        packed = np.stack(contexts).astype(np.uint64) << np.uint64(7)
        channel = np.uint64(min(view.channel, 2) << 5)
        return (packed | channel | self._salts) * _SPREAD, selector

    def _before(self, view: View) -> Symbols:
        """The reduced symbol of the channel before, zero in the first."""
        if view.channel == 0:
            return np.zeros(view.rows.stop - view.rows.start, np.int64)
        return self._reduce(view.at(0, 0, view.channel - 1))

    def _between_channels(self, view: View, near: tuple[Symbols, ...], predicted: Symbols) -> list[Symbols]:
        if self._channels == 1:
            return []
        if view.channel == 0:
            return [np.zeros_like(near[0])] * 4
        last = view.channel - 1
        there, first = view.at(0, 0, last), view.at(0, 0, 0)
        west, north, _, _ = view.causal(last)
        off = there - view.median_edge(last) + 256
        steps = (near[0] - west + 256) << 10 | (near[1] - north + 256)
        reduced = [self._reduce(value) for value in (there, first, *near[:2], west, north)]
        packed = np.zeros_like(there)
        for value in reduced:
            packed = packed << 4 | value
        return [
            predicted << 16 | there << 8 | first,
            off << 16 | there << 8 | first,
            off << 20 | steps,
            packed,
        ]

    def _reduce(self, symbols: Symbols) -> Symbols:
        return symbols if self._levels <= _FINE else symbols * _FINE // self._levels


def _bit_length(values: Symbols) -> Symbols:
    return np.searchsorted(1 << np.arange(20), values, side="right")


class _Decisions:
    """Symbols at one position as binary decisions: is it the prediction, which way is it, how far?"""

    def __init__(
        self,
        coder: SymbolCoder,
        mixer: BitMixer,
        expected: Mixture,
        hashes: Hashes,
        selector: Symbols,
        first: int,
    ) -> None:
        self._coder, self._mixer, self._first = coder, mixer, first
        self._expected, self._hashes, self._selector = expected, hashes, selector

    def _ask(
        self, who: Symbols, decision: int, answers: Answers | None, yes: Symbols, no: Symbols
    ) -> Symbols:
        """Code a decision about the samples ``who``; the rest is of all samples.

        ``answers`` are None to read them; ``yes`` and ``no`` are how likely the network holds each.
        """
        if not len(who):
            return who
        hashes, selector = self._hashes, self._selector
        if len(who) < len(selector):
            hashes, selector, yes, no = hashes[:, who], selector[who], yes[who], no[who]
        bits = None if answers is None else answers[who].astype(np.int64)
        kind = self._first + decision
        return self._mixer.code(self._coder, kind, hashes, selector, bits, logit(yes, no))

    def symbols(self, predicted: Symbols, symbols: Symbols | None) -> Symbols:
        """Code or read all samples' symbols, given their prediction."""
        last, distance = self._expected.levels - 1, None if symbols is None else abs(symbols - predicted)
        below, up_to = self._expected.up_to(predicted - 1), self._expected.up_to(predicted)
        everyone, at = np.arange(len(predicted)), up_to - below
        answers = None if distance is None else distance == 0
        equal = self._ask(everyone, _EQUAL, answers, at, CERTAIN - at)
        other = everyone[equal == 0]
        upwards = predicted == 0
        both = other[(predicted[other] > 0) & (predicted[other] < last)]
        answers = None if symbols is None else symbols > predicted
        upwards[both] = self._ask(both, _UPWARDS, answers, CERTAIN - up_to, below)
        room = np.where(upwards, last - predicted, predicted)
        self._hashes = self._hashes + np.where(upwards, np.uint64(0), _DOWN)
        self._predicted, self._upwards = predicted, upwards
        found = self._distance(other, room, distance)
        return predicted + np.where(upwards, found, -found)

    def _beyond(self, distance: Symbols | int) -> Symbols:
        """How likely the network holds it that a symbol is farther than ``distance`` in its direction."""
        edge = np.where(self._upwards, self._predicted + distance, self._predicted - distance - 1)
        up_to = self._expected.up_to(edge)
        return np.where(self._upwards, CERTAIN - up_to, up_to)

    def _distance(self, others: Symbols, room: Symbols, distance: Symbols | None) -> Symbols:
        """Distances of at least 1 of ``others`` (0 of the rest): in unary, far ones as Exp-Golomb codes."""
        found = np.zeros_like(room)
        found[others] = 1
        left = self._beyond(0)
        for reached in range(1, _UNARY):
            others = others[room[others] > reached]
            if not len(others):
                return found
            beyond, answers = self._beyond(reached), None if distance is None else distance > reached
            farther = self._ask(others, _FARTHER + reached, answers, beyond, left - beyond)
            left, others = beyond, others[farther == 1]
            found[others] = reached + 1
        self._far(others, found, left, None if distance is None else distance - _UNARY + 1)
        return np.minimum(found, room)

    def _far(self, others: Symbols, found: Symbols, left: Symbols, rest: Symbols | None) -> None:
        """Set the distances from :data:`_UNARY` on; ``rest`` counts them from 1."""
        for prefix in range(_MANTISSA - _PREFIX):
            if not len(others):
                return
            beyond, answers = (
                self._beyond(_UNARY - 2 + (2 << prefix)),
                None if rest is None else rest >= 2 << prefix,
            )
            longer = self._ask(others, _PREFIX + prefix, answers, beyond, left - beyond)
            left, done, others = beyond, others[longer == 0], others[longer == 1]
            found[done] = _UNARY - 1 + self._mantissa(done, prefix, rest)

    def _mantissa(self, who: Symbols, prefix: int, rest: Symbols | None) -> Symbols:
        value = np.ones_like(self._predicted)
        if not len(who):
            return value[who]
        for place in range(prefix - 1, -1, -1):
            first = value << (place + 1)
            bounds = (first, first + (1 << place), first + (2 << place))
            low, middle, high = (self._beyond(_UNARY - 2 + bound) for bound in bounds)
            decision, answers = (
                _MANTISSA + prefix * (prefix - 1) // 2 + place,
                None if rest is None else rest >> place & 1,
            )
            value[who] = value[who] << 1 | self._ask(who, decision, answers, middle - high, low - middle)
        return value[who]
