"""The coder that mixes: sections 6.9 to 6.13 of docs/format.md.

Part of the independent reader (reader.py), and like it written from the document alone.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np
from golden.reader_network import Expected
from golden.reader_range import Array, RangeDecoder, Shape, around, left_cumulatives, median, predicted

S, DOWN = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
G = np.array([round(4096 * math.log(5 * n + 2)) for n in range(1024)], np.int64)
Q = np.array([round(65536 / (1 + math.exp(-t / 256))) for t in range(-2800, 2801)], np.int64)
BUCKET = np.array([min(7, (((n + 1) ** 3).bit_length() - 1) // 2) for n in range(2048)], np.int64)
PREFIXES = [[9 + q, *(17 + q * (q - 1) // 2 + place for place in reversed(range(q)))] for q in range(8)]
ORDER = [*range(9), *(number for numbers in PREFIXES for number in numbers)]

Asked = tuple[int, bool, int]  # a decision's number, whether the symbol is below the prediction, v
Decisions = Generator[Asked, int, int]  # is sent the bit


def decisions(prediction: int, levels: int) -> Decisions:
    """6.10: the decisions about one symbol, which is what this returns."""
    if (yield 0, False, 0):
        return prediction
    up = prediction == 0 or (prediction < levels - 1 and (yield 1, False, 0) == 1)
    room = levels - 1 - prediction if up else prediction
    distance = 1
    while distance < min(8, room) and (yield 1 + distance, not up, 0):
        distance += 1
    if distance == 8:
        for longer, *places in PREFIXES:
            if not (yield longer, not up, 0):
                rest = 1
                for place in places:
                    rest = 2 * rest + (yield place, not up, rest)
                distance = min(7 + rest, room)
                break
    return prediction + (distance if up else -distance)


class Mixed:
    def __init__(self, levels: int, shape: Shape) -> None:
        self.levels, self.inputs = levels, 16 if shape[1] == 1 else 20
        self._mixer = Mixer(self.inputs, min(18, max(12, (math.prod(shape) - 1).bit_length())), network=True)

    def batch(self, decoder: RangeDecoder, x: Array, labels: Array, c: int, row: int, column: int) -> Array:
        looks = [self.look(one, int(k), c, row, column) for one, k in zip(x, labels, strict=True)]
        hashes = np.array([look[0] for look in looks], np.uint64) * S
        selectors = np.array([look[1] for look in looks])
        expected = [Expected(one, c, row, column, self.levels) for one in x]
        asking = {i: decisions(look[2], self.levels) for i, look in enumerate(looks)}
        asked = {i: next(asks) for i, asks in asking.items()}
        found = np.zeros(len(x), np.int64)
        for number in ORDER:
            who = [i for i, (what, *_) in asked.items() if what == number]
            if not who:
                continue
            away = np.array([[asked[i][1]] for i in who]) * DOWN
            kind = 45 * min(c, 2) + number
            opinions = np.array([expected[i].logit(number, not asked[i][1], asked[i][2]) for i in who])
            bits = self._mixer.decode(decoder, kind, hashes[who] + away, selectors[who], opinions)
            for i, bit in zip(who, bits, strict=True):
                try:
                    asked[i] = asking[i].send(bit)
                except StopIteration as end:
                    found[i] = end.value
                    del asked[i]
        return found

    def look(self, x: Array, label: int, c: int, row: int, column: int) -> tuple[list[int], int, int]:
        """6.11: what is hashed of each context, the selector, and the prediction."""
        near, prediction = around(x, c, row, column), predicted(x, c, row, column, self.levels)
        far = second_ring(x, c, row, column, near)
        activity = abs(near[0] - near[2]) + abs(near[2] - near[1]) + abs(near[1] - near[3])
        activity += abs(near[0] - far[0]) + abs(near[1] - far[1])
        selector = (activity * 32 // self.levels).bit_length()
        p, w, n, nw, ne, ww, nn, nne, nee, nnw, nww = map(self._reduced, (prediction, *near, *far))
        before = int(x[c - 1, row, column]) if c else 0
        b = self._reduced(before)
        height, width = x.shape[1:]
        position = row << 12 | column
        cell = 5 * (5 * row // height) + 5 * column // width
        cross, square = joined(4, n, w), joined(4, ne, nw, n, w)
        contexts = [
            0,
            position << 4 | p,
            b << 8 | cross,
            b << 16 | square,
            b << 16 | joined(4, nn, ww, n, w),
            prediction << 4 | selector,
            joined(4, p, b, nn, ww) << 16 | square,
            joined(4, p, nne, ne, n),
            activity << 4 | p,
            joined(4, p, ww, nn),
            joined(4, b, nww, nnw, nee, nne, nn, ww) << 16 | square,
            label << 8 | cross,
            label << 12 | cell << 4 | p,
            label << 24 | position,
            label << 28 | position << 4 | p,
            position << 8 | cross,
        ]
        if c == 0:
            contexts += [0] * (self.inputs - len(contexts))
        else:
            west, north, *_ = around(x, c - 1, row, column)
            first, off = int(x[0, row, column]), before - median(x, c - 1, row, column) + 256
            contexts += [
                joined(8, prediction, before, first),
                joined(8, off, before, first),
                joined(10, off, near[0] - west + 256, near[1] - north + 256),
                joined(4, b, *map(self._reduced, (first, *near[:2], west, north))),
            ]
        return [one << 7 | min(c, 2) << 5 | i for i, one in enumerate(contexts)], selector, prediction

    def _reduced(self, symbol: int) -> int:
        return symbol if self.levels <= 16 else 16 * symbol // self.levels


def joined(bits: int, *fields: int) -> int:
    """Fields of so many bits, the most significant first."""
    whole = 0
    for field in fields:
        whole = whole << bits | field
    return whole


def second_ring(x: Array, c: int, row: int, column: int, near: list[int]) -> list[int]:
    """6.11: WW, NN, NNE, NEE, NNW, NWW."""
    instead = dict(zip(("W", "N", "NW", "NE"), near, strict=True))

    def at(up: int, left: int, outside: str) -> int:
        inside = row >= up and 0 <= column - left < x.shape[2]
        return int(x[c, row - up, column - left]) if inside else instead[outside]

    return [at(0, 2, "W"), at(2, 0, "N"), at(2, -1, "NE"), at(1, -2, "NE"), at(2, 1, "NW"), at(1, 2, "NW")]


class Mixer:
    """6.12 and 6.13, for a batch of decisions of one kind."""

    def __init__(self, inputs: int, slots_log2: int, network: bool = False) -> None:
        self._input, self._shift = np.arange(inputs), np.uint64(64 - slots_log2)
        self._counts = np.zeros((inputs, 1 << slots_log2, 2), np.int64)  # of zeros, of ones
        trust = 2**16 * 13 * (21 + 9 * np.arange(8)) // (700 * inputs)
        trust = np.tile(trust, (inputs, 1))
        if network:
            trust = np.vstack([52428 * trust // 2**16, np.full((1, 8), 39322)])
        self._weights = np.tile(trust, (3 * 45, 9, 1, 1))  # kind, selector, input, bucket
        self._seen = 0

    def decode(
        self,
        decoder: RangeDecoder,
        kind: int,
        hashes: Array,
        selectors: Array,
        opinions: Array | None = None,
    ) -> list[int]:
        """One bit for each row of ``hashes`` ``[m, inputs]``; ``opinions`` ``[m]``: the network's logits."""
        slots = ((hashes + np.uint64(kind)) * S) >> self._shift
        counters = (self._input, slots.astype(np.int64))
        counts = self._counts[counters]
        logits = G[counts[..., 1]] - G[counts[..., 0]]
        inputs, buckets = self._input, BUCKET[counts.sum(axis=2)]
        if opinions is not None:
            inputs = np.arange(len(inputs) + 1)
            logits = np.column_stack([logits, opinions])
            buckets = np.column_stack([buckets, np.zeros_like(opinions)])
        used = (selectors[:, None], inputs, buckets)
        weights = self._weights[kind]
        t = np.clip((weights[used] * logits).sum(axis=1) // 2**20, -2800, 2800)
        ones = Q[t + 2800]
        bits = [decoder.decode(left_cumulatives(np.array([65536 - one, one]))) for one in ones]
        self._learn(weights, used, logits * (65536 * np.array(bits) - ones)[:, None])
        self._count(counters, np.array(bits)[:, None])
        return bits

    def _learn(self, weights: Array, used: tuple[Array, ...], gradients: Array) -> None:
        rate = 131 + 524 * 20000 // (20000 + self._seen)
        self._seen += len(gradients)
        gradient, members = np.zeros_like(weights), np.zeros_like(weights)
        np.add.at(gradient, used, gradients)
        np.add.at(members, used, 1)
        change = gradient.astype(np.float64) * rate / np.sqrt(np.maximum(members, 1).astype(np.float64))
        weights += np.floor(change / 2**28).astype(np.int64)

    def _count(self, counters: tuple[Array, Array], bits: Array) -> None:
        np.add.at(self._counts, (*counters, bits), 1)
        counts = self._counts[counters]  # a slot that several share comes several times, always the same
        limit = 30
        while (counts.sum(axis=2) > limit).any():
            halved = counts.sum(axis=2, keepdims=True) > limit
            counts = np.where(halved, (counts + 1) // 2, counts)
            limit = 1023
        self._counts[counters] = counts
