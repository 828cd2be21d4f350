"""The uniform grid that follows given values most closely."""

from __future__ import annotations

import torch
from torch import Tensor

# Shares of values left out at each end, among which the clipping is chosen: at few bits wide steps cost more
# than clipped tails.
_TAILS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)
_REFINEMENTS = 10
_MOST = 1 << 17  # values of each grid that the choice looks at


def _symbols(rows: Tensor, low: Tensor, step: Tensor, levels: int) -> Tensor:
    return ((rows - low[:, None]) / step[:, None]).round().clamp(0, levels - 1)


def least_squares(rows: Tensor, levels: int, tails: tuple[float, ...] = _TAILS) -> tuple[Tensor, Tensor]:
    """(low, step), each ``[groups]``, of uniform grids that follow ``rows`` ``[groups, n]`` closely.

    The range less one of ``tails`` that leaves the least squared error; from there, symbols and the straight
    line that fits their values best are found in turn, as in Lloyd's algorithm, each time with less error.
    """
    rows = rows[:, :: -(-rows.shape[1] // _MOST)]
    ordered = rows.sort(dim=1).values
    least = torch.full_like(rows[:, 0], torch.inf)
    low, step = ordered[:, 0], torch.ones_like(least)
    for tail in tails:
        skipped = int(tail * (rows.shape[1] - 1))
        first, last = ordered[:, skipped], ordered[:, -1 - skipped]
        wide = ((last - first) / (levels - 1)).clamp(min=torch.finfo(rows.dtype).tiny)
        received = first[:, None] + wide[:, None] * _symbols(rows, first, wide, levels)
        error = (received - rows).square().mean(1)
        better = error < least
        least, low, step = (
            torch.where(better, *pair) for pair in ((error, least), (first, low), (wide, step))
        )
    for _ in range(_REFINEMENTS):
        symbols = _symbols(rows, low, step, levels)
        variance, middle = torch.var_mean(symbols, 1, correction=0)
        along = (symbols * (rows - rows.mean(1, keepdim=True))).mean(1) / variance
        step = torch.where(variance > 0, along, step)
        low = rows.mean(1) - step * middle
    return low, step
