"""Rate-distortion optimised symbols: a little further from what was trained, in fewer bits."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits.parameterization.rate import ContextRate

_SWEEPS = 3  # a symbol's best choice depends on its neighbours', so choose a few times
_CHUNK = 1 << 22  # costs held at once


def tighten(position: Tensor, levels: int, strength: float) -> Tensor:
    """Symbols that minimise squared distance to ``position`` plus ``strength`` × bits.

    Args:
        position: ``[n, channels, height, width]`` in [0, levels-1].
        strength: 0 rounds; the larger, the fewer bits.
    """
    symbols = position.round().long().cpu()
    values = position.detach().cpu()
    for _ in range(_SWEEPS):
        rate = ContextRate(levels)
        rate.refresh(symbols.numpy(), 0.0)
        symbols = _sweep(values, symbols, rate, strength)
    return symbols


def _sweep(values: Tensor, symbols: Tensor, rate: ContextRate, strength: float) -> Tensor:
    levels = torch.arange(rate.levels)
    chosen = []
    contexts = rate.contexts(symbols)
    size = max(1, _CHUNK // (rate.levels * max(1, values[0].numel())))
    for part, context in zip(values.split(size), contexts.split(size), strict=True):
        cost = (part[..., None] - levels).square() + strength * rate.bits(context)
        chosen.append(cost.argmin(-1))
    return torch.cat(chosen)
