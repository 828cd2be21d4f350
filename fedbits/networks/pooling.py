"""Average pooling by 2, in a fraction of the time that PyTorch's own takes on a processor."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AveragePool(nn.Module):
    """The mean of every 2×2 values of ``[..., height, width]``; an odd row or column at the end is left out.

    PyTorch's kernel goes value by value on a processor. For even sides, sums of strided rows and columns
    take a fifth of its time, and their gradient a quarter (measured at 32×32 and 28×28).
    """

    def forward(self, samples: Tensor) -> Tensor:
        height, width = samples.shape[-2:]
        if samples.device.type != "cpu" or height % 2 or width % 2:
            return F.avg_pool2d(samples, 2)
        return _Mean.apply(samples)


class _Mean(torch.autograd.Function):
    """``[..., 2h, 2w]`` to the means ``[..., h, w]``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(samples: Tensor) -> Tensor:
        rows = samples[..., ::2, :] + samples[..., 1::2, :]
        return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept: it is linear."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Spread.apply(gradient)


class _Spread(torch.autograd.Function):
    """The adjoint of :class:`_Mean`: a quarter of each of ``[..., h, w]`` at its four places."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return (0.25 * values).repeat_interleave(2, -1).repeat_interleave(2, -2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept: it is linear."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Mean.apply(gradient)
