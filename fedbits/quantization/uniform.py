"""The uniform quantiser with a learnable grid per channel (QuADD Eq. 8, BCDC's min/max grid)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fedbits.errors import CorruptError
from fedbits.quantization.base import Quantizer, half, half_straight_through, round_straight_through

_SMALLEST_STEP = 2.0**-14  # the smallest normal float16
_SMALLEST_RATIO = 2.0**-18  # of step to low: below it, float32 values could no longer be told apart


class UniformQuantizer(Quantizer):
    """``low + step · s`` with s = 0 .. levels-1, one (low, step) per channel, both stored as float16.

    Gradients: values inside the range pass straight through; outside, ``low`` and ``step`` receive them. The
    rounding error trains ``step`` from every sample (reparameterised clipping, QuADD §4.2.2).
    """

    def __init__(self, bits: int, low: Tensor, step: Tensor) -> None:
        """``low`` and ``step`` ``[channels]``, in units of normalised samples; steps are positive."""
        super().__init__(bits)
        self.low = nn.Parameter(low.to(torch.float32).clone())
        self.step = nn.Parameter(step.to(torch.float32).clamp(min=_SMALLEST_STEP).clone())

    @classmethod
    def covering(cls, bits: int, samples: Tensor, tail: float = 0.001) -> UniformQuantizer:
        """A grid over the range of ``samples`` ``[n, channels, ...]`` less a ``tail`` at each end."""
        flat = samples.transpose(0, 1).flatten(1).sort(dim=1).values
        skipped = int(tail * (flat.shape[1] - 1))
        low, high = flat[:, skipped], flat[:, -1 - skipped]
        return cls(bits, low, (high - low) / ((1 << bits) - 1))

    def _grid(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1) + (1,) * (like.dim() - 2)
        step = half_straight_through(self._positive_step())
        return half_straight_through(self.low).view(shape), step.view(shape)

    def _positive_step(self) -> Tensor:
        smallest = (self.low.detach().abs() * _SMALLEST_RATIO).clamp(min=_SMALLEST_STEP)
        return torch.maximum(self.step, smallest)

    def position(self, values: Tensor) -> Tensor:
        low, step = self._grid(values)
        return ((values - low) / step).clamp(0, self.levels - 1)

    def forward(self, values: Tensor) -> Tensor:
        low, step = self._grid(values)
        return low + step * round_straight_through(((values - low) / step).clamp(0, self.levels - 1))

    def lookup(self, symbols: Tensor) -> Tensor:
        low, step = self._grid(symbols)
        return low.double().detach() + step.double().detach() * symbols.double()

    def side_information(self) -> bytes:
        """float16 pairs (low, step), channel by channel."""
        pairs = torch.stack([self.low, self._positive_step()], dim=1)
        return half(pairs).cpu().numpy().astype("<f2").tobytes()

    @classmethod
    def from_side_information(cls, bits: int, side: bytes, channels: int) -> UniformQuantizer:
        """The inverse of :meth:`side_information`.

        Raises:
            CorruptError: not ``channels`` finite pairs with positive steps, or bits outside 1..8.
        """
        if not 1 <= bits <= 8 or len(side) != 4 * channels:
            raise CorruptError(
                f"a grid of {bits} bits and {len(side)} bytes does not fit {channels} channels"
            )
        stored = np.frombuffer(side, dtype="<f2").reshape(channels, 2)
        pairs = np.where(np.isfinite(stored), stored, 0).astype(np.float32)
        smallest = np.maximum(np.abs(pairs[:, 0]) * _SMALLEST_RATIO, _SMALLEST_STEP)
        if not np.isfinite(stored).all() or (pairs[:, 1] < smallest).any():
            raise CorruptError("the quantisation grid is not finite with steps of a usable size")
        return cls(bits, torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1]))
