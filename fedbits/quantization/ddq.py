"""Differentiable data quantisation (BCDC §3.2, Eqs. 4-7): cells that harden from lines to stairs."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor

from fedbits.quantization.base import Moment, QuantizerConfig
from fedbits.quantization.uniform import UniformQuantizer


def soft_rounded(position: Tensor, temperature: float) -> Tensor:
    """Eq. 7 in steps from the lowest level: ``i + (φ + 1) / 2`` of ``position`` in the cell [i, i + 1].

    φ = tanh(kΔ · (position - i - ½)) / tanh(kΔ / 2) with kΔ = ``temperature`` > 0: -1 and 1 at the ends of
    the cell, so that neighbouring cells meet in their level. Near 0 it is the identity, at infinity rounding.
    """
    cell = position.detach().floor()
    inside = (temperature * (position - cell - 0.5)).tanh() / math.tanh(temperature / 2)
    return cell + (inside + 1) / 2


class DdqQuantizer(UniformQuantizer):
    """Q_V of BCDC in training, hard rounding in evaluation; the grid is learned through the formula.

    The temperature kΔ rises geometrically over the run; it is a constant to gradients, so that a wider step
    makes the whole stair wider and does not change its form.
    """

    temperatures = QuantizerConfig.temperature
    temperature = QuantizerConfig.temperature[0]

    @classmethod
    def covering(cls, bits: int, samples: Tensor, config: QuantizerConfig) -> Self:
        quantizer = super().covering(bits, samples, config)
        quantizer.temperatures = config.temperature
        quantizer.temperature = config.temperature[0]
        return quantizer

    def begin(self, moment: Moment, values: Tensor) -> None:
        first, last = self.temperatures
        self.temperature = first * (last / first) ** moment.progress

    def _seen(self, position: Tensor) -> Tensor:
        return soft_rounded(position, self.temperature)
