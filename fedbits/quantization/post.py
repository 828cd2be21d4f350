"""Post-training quantisation: the baseline that trains on real numbers and is quantised only afterwards."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits.quantization.base import QuantizerConfig
from fedbits.quantization.uniform import UniformQuantizer, laid_over


class PostTrainingQuantizer(UniformQuantizer):
    """Hands values on as they are; when training is over, its grid is laid over what has become of them.

    Where it starts by ``least_squares``, the grid is the best of its kind in squared error, so that it is
    the training that quantisation-aware recipes are compared with, and not a careless choice of the range.
    """

    in_loop = False

    def __init__(self, bits: int, samples: Tensor, config: QuantizerConfig) -> None:
        super().__init__(bits, *laid_over(samples, 1 << bits, config))
        self._config = config
        self.requires_grad_(False)

    def forward(self, values: Tensor) -> Tensor:
        return values if self.training else super().forward(values)

    def settle(self, values: Tensor) -> None:
        low, step = laid_over(values.detach(), self.levels, self._config)
        with torch.no_grad():
            self.low.copy_(low)
            self.width.copy_(step * (self.levels - 1))
