"""What every quantiser owes the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

_LARGEST_HALF = 65504.0


def round_straight_through(values: Tensor) -> Tensor:
    """Rounded in the forward pass, the identity in the backward pass."""
    return values.detach().round() + (values - values.detach())


def half(values: Tensor) -> Tensor:
    """As side information travels: float16, or the float16 that comes nearest to what is beyond its range."""
    return values.detach().clamp(-_LARGEST_HALF, _LARGEST_HALF).to(torch.float16)


def half_straight_through(values: Tensor) -> Tensor:
    """What :func:`half` makes of ``values``; the identity in the backward pass."""
    return half(values).to(values.dtype) + (values - values.detach())


class Quantizer(nn.Module, ABC):
    """Maps ``[n, channels, ...]`` to ``levels`` values per channel.

    Its side information is float16, and every level is a multiple of 2⁻²⁴ below 2²⁵: sums of such values
    with dyadic weights are exact in float64, so every machine decodes the same samples.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ValueError(f"{bits} bits: expected 1 to 8")
        self.bits = bits

    @property
    def levels(self) -> int:
        return 1 << self.bits

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """Grid values nearest to ``values``, with a surrogate gradient."""

    @abstractmethod
    def position(self, values: Tensor) -> Tensor:
        """Where ``values`` lie between the levels, in [0, levels-1]; rounding it gives the symbols."""

    @abstractmethod
    def lookup(self, symbols: Tensor) -> Tensor:
        """Exact float64 grid values of integer ``symbols`` ``[n, channels, ...]``."""

    @abstractmethod
    def side_information(self) -> bytes:
        """What a receiver needs to look symbols up."""

    def symbols(self, values: Tensor) -> Tensor:
        """Integer symbols in [0, levels-1] of ``values``."""
        with torch.no_grad():
            return self.position(values).round().long()
