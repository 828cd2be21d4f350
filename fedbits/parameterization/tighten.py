"""Rate-distortion optimised symbols: a little further from what was trained, in fewer bits."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits.parameterization.network_rate import tightened
from fedbits.parameterization.rate import ContextRate

_SWEEPS = 2  # the first choices change the frequencies that the second ones count on


def tighten(position: Tensor, levels: int, strength: float, images: bool = True) -> Tensor:
    """Symbols that minimise squared distance to ``position`` plus ``strength`` × bits.

    Choices are made in raster order, each under the neighbours chosen before it, as they will be coded: of
    images under what the entropy network expects, of anything else under frequencies.

    Args:
        position: ``[n, channels, height, width]`` in [0, levels-1].
        strength: 0 rounds; the larger, the fewer bits.
        images: whether these are pixels, where they have rows; coefficients of transforms are not.
    """
    values = position.detach().cpu()
    symbols = values.round().long()
    if strength <= 0:
        return symbols
    if images and values.shape[2] > 1:
        return torch.from_numpy(tightened(values.double().numpy(), levels, strength))
    for _ in range(_SWEEPS):
        rate = ContextRate(levels)
        rate.refresh(symbols.numpy())
        symbols = _sweep(values, rate, strength)
    return symbols


def _sweep(values: Tensor, rate: ContextRate, strength: float) -> Tensor:
    levels = torch.arange(rate.levels)
    n, channels, height, width = values.shape
    chosen = torch.zeros((n, channels, height + 1, width + 1), dtype=torch.long)  # a margin above and left
    for row in range(height):
        for column in range(width):
            context = rate.context(chosen[:, :, row + 1, column], chosen[:, :, row, column + 1])
            cost = (values[:, :, row, column, None] - levels).square() + strength * rate.bits(context)
            chosen[:, :, row + 1, column + 1] = cost.argmin(-1)
    return chosen[:, :, 1:, 1:].contiguous()
