"""What an entropy network sees of a position: the symbols around it, in units of their own activity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedbits.coding.view import Symbols, View

_NEIGHBOURS = 10  # in each channel
_OCTAVES = np.array([round(8 * float(np.log2(max(i, 1) / 16))) for i in range(1 << 14)])


@dataclass(frozen=True)
class Surroundings:
    """Of ``n`` samples at one position.

    Attributes:
        inputs: ``[n, features]``, 8 fractional bits.
        centre: ``[n]``, the prediction to which the inputs are relative.
        octave: ``[n]``, 8 log2 of the activity in levels.
        near, outer, activity: what it was made from.
    """

    inputs: NDArray[np.int64]
    centre: Symbols
    octave: Symbols
    near: tuple[Symbols, Symbols, Symbols, Symbols]
    outer: tuple[Symbols, ...]
    activity: Symbols


def inputs_of(channels: int) -> int:
    """How many inputs a network for grids of so many channels has."""
    return 30 if channels == 1 else 57


def others(channel: int, channels: int) -> list[int]:
    """The (up to two) channels that a channel is predicted from besides itself."""
    if channel >= 3:
        return [channel - 1, channel - 2]
    return [other for other in ((channel - 1) % 3, (channel - 2) % 3) if other < channels]


def surroundings(view: View, levels: int) -> Surroundings:
    channels, channel = view.grid.shape[1], view.channel
    centre, near = view.predicted(levels), view.causal()
    outer = view.outer(near)
    west, north, north_west, north_east = near
    activity = abs(west - north_west) + abs(north_west - north) + abs(north - north_east)
    activity += abs(west - outer[0]) + abs(north - outer[1])
    scale = 8 + 16 * activity // 5
    rows = [value - centre for value in (*near, *outer)]
    zero = np.zeros_like(centre)
    if channels > 1:
        for other in others(channel, channels):
            there = view.causal(other)
            reference = view.median_edge(other)
            rows += [value - reference for value in (*there, *view.outer(there, other))]
            rows += [reference - centre, view.at(0, 0, other) - reference if other < channel else zero]
        rows += [zero] * (_NEIGHBOURS + 2 * (_NEIGHBOURS + 2) - len(rows))
    octave = _OCTAVES[scale]
    relative = np.clip(np.stack(rows) * 4096 // scale, -2047, 2047)
    range_ = centre * 256 // (levels - 1)
    known = [(octave + 32) * 4, range_, 256 - abs(2 * range_ - 256)]
    place = np.array(_place(view, levels))[:, None]
    inputs = np.concatenate([relative, np.stack(known), np.broadcast_to(place, (len(place), len(centre)))])
    return Surroundings(inputs.T, centre, octave, near, outer, activity)


def _place(view: View, levels: int) -> list[int]:
    (height, width), row, column = view.size, view.row, view.column
    bits = levels.bit_length() - 1
    flags = [bits == k for k in range(1, 9)]
    flags += [row == 0, row == 1, column == 0, column == 1, column == width - 1]
    place = [256 * flag for flag in flags]
    place += [row * 256 // height, column * 256 // width]
    place += [abs(2 * row + 1 - height) * 256 // height, abs(2 * column + 1 - width) * 256 // width]
    if view.grid.shape[1] > 1:
        place += [256 * (min(view.channel, 2) == k) for k in range(3)]
    return place
