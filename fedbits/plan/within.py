"""The most samples that a limit of bytes allows."""

from __future__ import annotations

from collections.abc import Callable

CLOSE = 0.995  # share of a limit at which the search for the most samples ends


def largest_within(size: Callable[[int], int], low: int, high: int, limit: int) -> int:
    """The largest number in [low, high] whose ``size`` is at most ``limit``; ``low`` is known to fit.

    Sizes grow about linearly, so each trial is where the line through the last two says the limit is. A
    number that takes :data:`CLOSE` of the limit is as good as the largest: trials of many samples take long.
    """
    known = size(low)
    slope = max(known / low, 1e-6)
    while low < high and known < CLOSE * limit:
        trial = min(high, low + max(1, int((limit - known) / slope)))
        taken = size(trial)
        slope = max((taken - known) / (trial - low), 1e-6)
        if taken <= limit:
            low, known = trial, taken
        else:
            high = trial - 1
    return low
