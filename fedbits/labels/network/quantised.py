"""Weights that are rounded to learned power-of-two steps in training, and what they then take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedbits.coding.grid import least_stream
from fedbits.coding.weights import (
    FRACTION_BITS,
    QuantisedTensor,
    encode_weights,
    quantise,
    weight_bits,
    weights_work,
)

Floats = NDArray[np.float64]

_FULL = 0.97  # of the bytes there are
_WORD = 4  # bytes by which a stream may be longer than its bits
_FINEST, _COARSEST = 24, FRACTION_BITS[0]  # fractional bits of steps that are learned
_START = 1 / 16  # steps, as a share of a tensor's root mean square
_BIAS_START = 1 / 16  # of a bias, which is 0 at first


class QuantisedWeights(nn.Module):
    """Tensors and, of each, the binary logarithm of its step; both are trained.

    Rounding is straight-through, and a step is learned from what rounding to it changes (LSQ, Esser et al.,
    ICLR 2020), with the power of two nearest to it in place of itself.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self.tensors = nn.ParameterList([tensor.clone() for tensor in tensors])
        self.levels = nn.Parameter(torch.tensor([_start(tensor) for tensor in tensors]))

    def forward(self) -> list[Tensor]:
        """The tensors as they would travel."""
        found = []
        for tensor, step in zip(self.tensors, self._steps(), strict=True):
            position = tensor / step
            rounded = position + (position.round() - position).detach()
            found.append(rounded * step)
        return found

    def bits(self) -> Tensor:
        """About what the tensors take, differentiable in them and in their steps.

        The entropy of a Laplace distribution of their mean magnitude, in steps: exact where that is large.
        """
        bits = torch.zeros((), device=self.levels.device)
        for tensor, step in zip(self.tensors, self._steps(), strict=True):
            bits = bits + tensor.numel() * torch.log2(1 + 2 * math.e * tensor.abs().mean() / step)
        return bits

    def quantised(self) -> list[QuantisedTensor]:
        """The tensors that travel."""
        fractions = (-self.levels.detach()).round().clamp(_COARSEST, _FINEST).int().tolist()
        return [
            quantise(tensor.detach().cpu().numpy(), bits)
            for tensor, bits in zip(self.tensors, fractions, strict=True)
        ]

    def _steps(self) -> list[Tensor]:
        limited = self.levels.clamp(-_FINEST, -_COARSEST)
        whole = limited + (limited.round() - limited).detach()
        return list(torch.exp2(whole))


def stream_of(tensors: Sequence[QuantisedTensor]) -> bytes:
    """The coded tensors; with zero bytes behind them where reading as many zeros would take long."""
    work = weights_work([tensor.values.shape for tensor in tensors], zeros=True)
    return encode_weights(tensors).ljust(least_stream(work), b"\0")


def landed(weights: QuantisedWeights, limit: int) -> list[QuantisedTensor] | None:
    """The tensors in at most ``limit`` bytes, and hardly fewer; None if they do not fit however coarse.

    Where they take more, steps become coarser, each time of the tensor whose error grows least; where they
    take too little, finer, each time of the tensor that gains most and still fits.
    """
    exact = [tensor.detach().cpu().numpy().astype(np.float64) for tensor in weights.tensors]
    found = weights.quantised()
    bits = [weight_bits([tensor]) for tensor in found]  # which do not hang on each other
    while sum(bits) > 8 * (limit - _WORD) or len(stream_of(found)) > limit:
        pairs = zip(exact, found, strict=True)
        costs = [_error(one, tensor, -1) - _error(one, tensor, 0) for one, tensor in pairs]
        if min(costs) == math.inf:
            return None
        place = costs.index(min(costs))
        _move(found, exact, place, -1)
        bits[place] = weight_bits([found[place]])
    full = {place for place, one in enumerate(found) if one.fraction_bits >= _FINEST}
    while len(full) < len(found) and sum(bits) < 8 * _FULL * limit:
        gains = [
            -math.inf if place in full else _error(one, found[place], 0) - _error(one, found[place], 1)
            for place, one in enumerate(exact)
        ]
        place = gains.index(max(gains))
        before, then = found[place], bits[place]
        _move(found, exact, place, 1)
        bits[place] = weight_bits([found[place]])
        if sum(bits) > 8 * (limit - _WORD) or found[place].fraction_bits >= _FINEST:
            found[place], bits[place] = before, then
            full.add(place)
    return found


def _move(found: list[QuantisedTensor], exact: Sequence[Floats], place: int, bits: int) -> None:
    found[place] = quantise(exact[place], found[place].fraction_bits + bits)


def _error(exact: Floats, tensor: QuantisedTensor, bits: int) -> float:
    """By steps ``bits`` finer: the squared error, relative to all squares, for a number."""
    if tensor.fraction_bits + bits not in FRACTION_BITS or (bits < 0 and not tensor.values.any()):
        return math.inf
    squares = float(np.square(exact).sum()) or 1.0
    rounded = quantise(exact, tensor.fraction_bits + bits).floats()
    return float(np.square(rounded - exact).sum()) / squares / exact.size


def _start(tensor: Tensor) -> float:
    size = float(tensor.detach().square().mean().sqrt())
    return math.log2(size * _START if size else _BIAS_START)
