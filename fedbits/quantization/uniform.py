"""The uniform quantiser with a learnable grid (QuADD Eq. 8), straight-through."""

from __future__ import annotations

from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from fedbits.quantization.base import (
    Quantizer,
    QuantizerConfig,
    half_straight_through,
    round_straight_through,
)
from fedbits.quantization.grid import SMALLEST_STEP, Grid, smallest_step
from fedbits.quantization.least_squares import least_squares


def by_channel(values: Tensor, config: QuantizerConfig) -> Tensor:
    """``values`` ``[n, channels, ...]`` as ``[groups, n]``: a row for each grid."""
    return values.flatten()[None] if config.scope == "tensor" else values.transpose(0, 1).flatten(1)


def column(groups: Tensor, like: Tensor) -> Tensor:
    """``[groups]`` to be combined with ``like`` ``[n, channels, ...]``."""
    return groups.view((1, -1) + (1,) * (like.dim() - 2))


def inner_range(rows: Tensor, tail: float) -> tuple[Tensor, Tensor]:
    """Lowest and highest of each of ``rows`` ``[groups, n]`` but for a share ``tail`` at each end."""
    ordered = rows.sort(dim=1).values
    skipped = int(tail * (ordered.shape[1] - 1))
    return ordered[:, skipped], ordered[:, -1 - skipped]


def laid_over(values: Tensor, levels: int, config: QuantizerConfig) -> tuple[Tensor, Tensor]:
    """Lowest level and step ``[groups]`` of each grid for ``values`` ``[n, channels, ...]``."""
    rows = by_channel(values, config)
    if config.start == "least_squares":
        return least_squares(rows, levels)
    low, high = inner_range(rows, config.tail)
    return low, (high - low) / (levels - 1)


class _Clipped(torch.autograd.Function):
    """The forward and backward passes of :func:`clipped`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: Tensor, step: Tensor, lowest: float, highest: float) -> Tensor:
        position = (values - low) / step
        inside = position.clamp(lowest, highest)
        ctx.save_for_backward(inside, position - inside, step)
        ctx.low_shape = low.shape
        return inside

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        position, beyond, step = ctx.saved_tensors  # beyond: below 0 under the range, above 0 over it
        slope = gradients[0] / step
        to_grid = slope * (beyond == 0)
        to_values = slope * (beyond * slope >= 0)  # descent leads back, or there is nothing to lead back from
        to_step = -(to_grid * position).sum_to_size(step.shape)
        return to_values, -to_grid.sum_to_size(ctx.low_shape), to_step, None, None


def clipped(values: Tensor, low: Tensor, step: Tensor, lowest: float, highest: float) -> Tensor:
    """Where ``values`` lie in steps from ``low``, clipped to [lowest, highest]; those outside can come back.

    Gradients are those of the formula, but for one thing: clipping by itself gives a value outside none, so
    that it would stay there whatever the loss says. Here it receives what it would at the end of the range,
    where following that leads back inside, and none where it would lead further out. ``low`` and ``step``
    (positive), which broadcast to ``values``, receive what the formula says. Were those values inside to
    them, too, the range could widen but no longer narrow.
    """
    return cast(Tensor, _Clipped.apply(values, low, step, lowest, highest))


class UniformQuantizer(Quantizer):
    """``low + step · s`` with s = 0 .. levels-1.

    Gradients: values inside the range pass straight through; outside, ``low`` and ``width`` receive them, and
    so does the value where that leads it back inside (:func:`clipped`). The rounding error trains ``width``
    from every sample (reparameterised clipping, QuADD §4.2.2).

    What is learned is the ``width`` from the lowest to the highest level rather than the step: both ends then
    move at the pace of samples, at any number of bits. (A step of 8 bits is some 0.015; learned by itself, at
    a pace that suits 2 bits, each update would move the highest level 255 times as far.)
    """

    def __init__(self, bits: int, low: Tensor, step: Tensor) -> None:
        """``low`` and ``step`` ``[1]`` or ``[channels]``, in units of normalised samples; steps positive."""
        super().__init__(bits)
        self.low = nn.Parameter(low.to(torch.float32).clone())
        self.width = nn.Parameter(step.to(torch.float32).clamp(min=SMALLEST_STEP) * (self.levels - 1))

    @classmethod
    def covering(cls, bits: int, samples: Tensor, config: QuantizerConfig) -> Self:
        """A grid for ``samples`` ``[n, channels, ...]``: over their range less a tail, or of least error."""
        return cls(bits, *laid_over(samples, 1 << bits, config))

    @property
    def step(self) -> Tensor:
        return self.width / (self.levels - 1)

    def grid(self) -> Grid:
        return Grid(self.bits, self.low, self.step)

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The grid as the receiver has it, the identity in the backward pass."""
        step = half_straight_through(torch.maximum(self.step, smallest_step(self.low)))
        return column(half_straight_through(self.low), like), column(step, like)

    def _between(self, values: Tensor, low: Tensor, step: Tensor) -> Tensor:
        """Where ``values`` lie between the levels, in [0, levels-1]."""
        return clipped(values, low, step, 0, self.levels - 1)

    def _seen(self, position: Tensor) -> Tensor:
        """What training sees of ``position``."""
        return round_straight_through(position)

    def position(self, values: Tensor) -> Tensor:
        return self._between(values, *self._columns(values))

    def forward(self, values: Tensor) -> Tensor:
        low, step = self._columns(values)
        position = self._between(values, low, step)
        return low + step * (self._seen(position) if self.training else position.round())
