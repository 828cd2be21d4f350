"""Quantised samples, perhaps stored at a lower resolution and upsampled by the receiver (the idea of IDC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding import CODERS, SymbolCoder, code_grid, smallest_coder
from fedbits.data.spec import DataSpec
from fedbits.errors import CorruptError
from fedbits.parameterization.base import Parameterization
from fedbits.parameterization.rate import EXACT_EVERY, ContextRate
from fedbits.parameterization.tighten import tighten
from fedbits.quantization import Quantizer, UniformQuantizer
from fedbits.wire import distilled_set_pb2 as pb

GRID_RATE = 0.01  # learning rate of the grid beside that of the samples: it is shared by all of them


@dataclass(frozen=True)
class PixelConfig:
    """How samples are stored: ``bits`` 1–8 a value, each side ``factor`` (1, 2, 4 or 8) times smaller."""

    bits: int = 3
    factor: int = 1


def stored_shape(spec: DataSpec, factor: int) -> tuple[int, int, int]:
    """Channels, height and width at which a sample is stored (sides rounded up)."""
    channels, height, width = spec.grid_shape
    return (
        (channels, -(-height // factor), -(-width // factor)) if spec.is_grid else (channels, height, width)
    )


def shrink(samples: Tensor, spec: DataSpec, factor: int) -> Tensor:
    """Normalised samples ``[n, *spec.shape]`` to stored resolution ``[n, *stored_shape]``, by area."""
    grid = samples.reshape(len(samples), *spec.grid_shape)
    if factor == 1 or not spec.is_grid:
        return grid
    _, height, width = stored_shape(spec, factor)
    padding = [0, width * factor - grid.shape[3], 0, height * factor - grid.shape[2]]
    return F.avg_pool2d(F.pad(grid, padding, mode="replicate"), factor)


class PixelParameterization(Parameterization):
    """Samples as values on a quantiser's grid.

    The real-valued ``stored`` tensor is what is trained; samples are its quantised (and upsampled) image, so
    what is trained is what is sent. With ``quantised`` off, training sees unquantised samples and the grid
    is applied only afterwards: post-training quantisation, the baseline.
    """

    def __init__(
        self, spec: DataSpec, stored: Tensor, quantizer: Quantizer, factor: int = 1, quantised: bool = True
    ) -> None:
        """``stored`` ``[n, channels, height, width]`` float32 at the stored resolution, normalised."""
        super().__init__()
        self.spec, self.factor, self.quantised = spec, factor, quantised
        self.quantizer = quantizer
        self.stored = torch.nn.Parameter(stored)
        self._context_rate = ContextRate(quantizer.levels)
        self._measured, self._saving = 0, 1.0

    @classmethod
    def from_samples(
        cls, samples: Tensor, spec: DataSpec, config: PixelConfig, quantised: bool = True
    ) -> PixelParameterization:
        """Start from normalised samples ``[n, *spec.shape]``, with a grid that covers them."""
        stored = shrink(samples, spec, config.factor)
        return cls(spec, stored, UniformQuantizer.covering(config.bits, stored), config.factor, quantised)

    def __len__(self) -> int:
        return len(self.stored)

    def forward(self, index: Tensor | None = None) -> Tensor:
        stored = self.stored if index is None else self.stored[index]
        if not self.training:
            return self._upsample(self.quantizer.lookup(self.quantizer.symbols(stored))).float()
        return self._upsample(self.quantizer(stored) if self.quantised else stored)

    def _upsample(self, values: Tensor) -> Tensor:
        """Bilinear, with dyadic weights: exact for grid values in float64."""
        if self.factor > 1 and self.spec.is_grid:
            _, height, width = self.spec.grid_shape
            scaled = F.interpolate(values, scale_factor=self.factor, mode="bilinear", align_corners=False)
            values = scaled[:, :, :height, :width]
        return values.reshape(len(values), *self.spec.shape)

    def symbols(self) -> Tensor:
        """Integer symbols ``[n, channels, height, width]`` of everything stored."""
        return self.quantizer.symbols(self.stored)

    def rate(self, labels: Tensor) -> Tensor:
        position = self.quantizer.position(self.stored)
        if not self.training or self._context_rate.is_stale():
            symbols = self.symbols().cpu().numpy()
            self._context_rate.refresh(symbols, self._measure(symbols, labels.cpu().numpy()))
        return self._context_rate(position)

    def _measure(self, symbols: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
        """Bits of ``symbols``; in training mostly by fast coders, at the ratio last seen to the best one."""
        bits = smallest_coder(symbols, self.quantizer.levels, labels, quick=True)[1]
        if not self.training or self._measured % EXACT_EVERY == 0:
            exact = smallest_coder(symbols, self.quantizer.levels, labels)[1]
            self._saving = exact / bits if bits else 1.0
        self._measured += self.training
        return bits * self._saving

    def encode(
        self, message: pb.DistilledSet, coder: SymbolCoder, labels: Tensor, quick: bool = False
    ) -> None:
        symbols, classes = self.symbols().cpu().numpy(), labels.cpu().numpy()
        number, _ = smallest_coder(symbols, self.quantizer.levels, classes, quick)
        message.pixel.bits = self.quantizer.bits
        message.pixel.factor_log2 = self.factor.bit_length() - 1
        message.pixel.grid = self.quantizer.side_information()
        message.pixel.coder = number
        code_grid(coder, number, self.quantizer.levels, (*symbols.shape,), symbols, classes)

    @classmethod
    def decode(
        cls, message: pb.Pixel, spec: DataSpec, labels: Tensor, coder: SymbolCoder
    ) -> PixelParameterization:
        """Read the samples of ``labels`` ``[n]``, which ascend.

        Raises:
            CorruptError: the message declares a grid, factor or coder that does not exist.
        """
        if message.factor_log2 > 3 or message.coder not in CODERS:
            raise CorruptError(f"unknown factor 2^{message.factor_log2} or coder {message.coder}")
        factor = 1 << message.factor_log2
        shape = stored_shape(spec, factor)
        quantizer = UniformQuantizer.from_side_information(message.bits, message.grid, shape[0])
        symbols = code_grid(
            coder, message.coder, quantizer.levels, (len(labels), *shape), labels=labels.numpy()
        )
        stored = quantizer.lookup(torch.from_numpy(symbols))
        return cls(spec, stored.float(), quantizer, factor)

    def tightened(self, strength: float) -> PixelParameterization:
        with torch.no_grad():
            position = self.quantizer.position(self.stored)
            symbols = tighten(position, self.quantizer.levels, strength)
            stored = self.quantizer.lookup(symbols.to(self.stored.device)).float()
        return PixelParameterization(self.spec, stored, self.quantizer, self.factor, self.quantised)

    def joined(self, samples: Tensor, order: Tensor) -> PixelParameterization:
        added = shrink(samples, self.spec, self.factor)
        stored = torch.cat([self.stored.detach(), added.to(self.stored.device)])[order]
        return PixelParameterization(self.spec, stored, self.quantizer, self.factor, self.quantised)

    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [
            {"params": [self.stored], "lr": learning_rate},
            {"params": list(self.quantizer.parameters()), "lr": learning_rate * GRID_RATE},
        ]

    def describe(self) -> dict[str, Any]:
        return {"parameterization": "pixel", "bits": self.quantizer.bits, "factor": self.factor}
