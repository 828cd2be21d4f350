"""Two quantisers of one kind: one for low, one for high frequencies (QuADD, Appendix B).

Coefficients of low frequencies are some ten times as large as the others, and there are few of them; so each
band has a grid, with a learnable range, of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from fedbits.quantization import build
from fedbits.quantization.base import Moment, Quantizer, QuantizerConfig
from fedbits.quantization.grid import Grid
from fedbits.rng import derive_seed


def default_band(height: int, width: int) -> int:
    """A quarter of the sum of the sides: an eighth of the coefficients of a square are then low ones."""
    return max(1, (height + width) // 4)


@lru_cache(maxsize=64)
def is_low(height: int, width: int, band: int) -> Tensor:
    """Bool ``[height, width]``: coefficients whose row and column add up to less than ``band``."""
    return torch.arange(height)[:, None] + torch.arange(width) < band


class BandedGrid(Grid):
    """A grid for the coefficients of each band, of the same levels and spacing."""

    def __init__(self, low: Grid, high: Grid, band: int) -> None:
        """``low`` and ``high`` have as many pairs each: one, or one for each channel."""
        self.bits, self.spacing = low.bits, low.spacing
        self.low, self.high, self.band = low, high, band

    def _columns(self, like: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Origin and step of each of ``like`` ``[n, channels, height, width]``."""
        low = is_low(like.shape[2], like.shape[3], self.band).to(like.device)
        pairs = zip(self.low._columns(like, dtype), self.high._columns(like, dtype), strict=True)
        origin, step = (torch.where(low, first, second) for first, second in pairs)
        return origin, step

    def side_information(self) -> bytes:
        """float16 pairs (origin, step), first those of the low band."""
        return self.low.side_information() + self.high.side_information()

    @classmethod
    def from_bands(cls, bits: int, side: bytes, channels: int, spacing: int, band: int) -> BandedGrid:
        """The inverse of :meth:`side_information`.

        Raises:
            CorruptError: one of the halves is no side information of a :class:`Grid`.
        """
        halves = (side[: len(side) // 2], side[len(side) // 2 :])
        low, high = (Grid.from_side_information(bits, half, channels, spacing) for half in halves)
        return cls(low, high, band)


class BandedQuantizer(Quantizer):
    """A quantiser for each band of coefficients ``[n, channels, height, width]``.

    Each only ever sees the coefficients of its band, as ``[n, channels, coefficients]``.
    """

    def __init__(self, low: Quantizer, high: Quantizer, band: int) -> None:
        """Both are of one kind. The high band may have no coefficients: ``high`` is then not used."""
        super().__init__(low.bits)
        self.low, self.high, self.band = low, high, band

    @classmethod
    def covering(cls, bits: int, coefficients: Tensor, config: QuantizerConfig, band: int) -> Self:
        """Each fitted to what ``coefficients`` has of its band."""
        low, high = _split(coefficients, band)
        high = high if high.shape[2] else low
        return cls(build(config, bits, low), build(config, bits, high), band)

    @property
    def in_loop(self) -> bool:  # type: ignore[override]
        return self.low.in_loop

    @property
    def priced(self) -> bool:
        return self.low.priced

    def grid(self) -> BandedGrid:
        return BandedGrid(self.low.grid(), self.high.grid(), self.band)

    def forward(self, values: Tensor) -> Tensor:
        return self._mapped(values, self.low, self.high)

    def position(self, values: Tensor) -> Tensor:
        return self._mapped(values, self.low.position, self.high.position)

    def stored(self, samples: Tensor) -> Tensor:
        return self._mapped(samples, self.low.stored, self.high.stored)

    def begin(self, moment: Moment, values: Tensor) -> None:
        low, high = _split(values, self.band)
        self.low.begin(moment, low)
        if high.shape[2]:  # with noise of its own
            self.high.begin(replace(moment, seed=derive_seed(moment.seed, "high band")), high)

    def settle(self, values: Tensor) -> None:
        low, high = _split(values, self.band)
        self.low.settle(low)
        if high.shape[2]:
            self.high.settle(high)

    def penalty(self, values: Tensor) -> Tensor:
        low, high = _split(values, self.band)
        return self.low.penalty(low) + self.high.penalty(high)

    def _mapped(
        self, values: Tensor, of_low: Callable[[Tensor], Tensor], of_high: Callable[[Tensor], Tensor]
    ) -> Tensor:
        low, high = _split(values, self.band)
        mapped = of_low(low) if not high.shape[2] else torch.cat([of_low(low), of_high(high)], dim=2)
        back = _order(*values.shape[2:], self.band)[1].to(values.device)
        return mapped[:, :, back].view(values.shape)


@lru_cache(maxsize=64)
def _order(height: int, width: int, band: int) -> tuple[Tensor, Tensor, int]:
    """Flat places of the coefficients, low ones first; the inverse; and how many are low."""
    low = is_low(height, width, band).flatten()
    order = torch.argsort(~low, stable=True)
    return order, torch.argsort(order), int(low.sum())


def _split(values: Tensor, band: int) -> tuple[Tensor, Tensor]:
    """Low and high coefficients ``[n, channels, coefficients]`` of ``[n, channels, height, width]``."""
    order, _, low = _order(*values.shape[2:], band)
    sorted_ = values.flatten(2)[:, :, order.to(values.device)]
    return sorted_[:, :, :low], sorted_[:, :, low:]
