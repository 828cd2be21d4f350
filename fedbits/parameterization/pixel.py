"""Quantised samples, perhaps stored at a lower resolution and upsampled by the receiver (the idea of IDC)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding import CODERS, Meter, code_grid, smallest_coder, too_large_to_mix
from fedbits.coding.network import EntropyNetwork
from fedbits.data.spec import DataSpec
from fedbits.errors import CorruptError
from fedbits.parameterization.base import Parameterization, Part
from fedbits.parameterization.entropy import own_network
from fedbits.parameterization.network_rate import NetworkRate
from fedbits.parameterization.rate import EXACT_EVERY, REFRESH, ContextRate, Rate
from fedbits.parameterization.tighten import tighten
from fedbits.quantization import Quantizer, UniformQuantizer
from fedbits.wire import distilled_set_pb2 as pb

GRID_RATE = 0.01  # learning rate of the grid beside that of the samples: it is shared by all of them
_CHUNK = 1 << 18  # numbers of samples that are looked up or interpolated at once, in some 30 bytes each


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


def _interpolated(values: Tensor, factor: int) -> Tensor:
    return F.interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)


def _chunks(shape: tuple[int, ...], factor: int = 1) -> Iterator[tuple[slice, int, int]]:
    """Samples, and rows from a first to a last, that together make up a stored ``shape``.

    Interpolated by ``factor``, each chunk has about :data:`_CHUNK` numbers (or is one row of one sample).
    """
    n, channels, height, width = shape
    row = channels * width * factor**2
    high, many = max(1, min(height, _CHUNK // row)), max(1, _CHUNK // (row * height))
    for start in range(0, n, many):
        for first in range(0, height, high):
            yield slice(start, start + many), first, min(first + high, height)


def _common_coder(
    grids: Sequence[NDArray[np.int64]],
    labels: Sequence[NDArray[np.int64]],
    levels: int,
    quick: bool,
    network: EntropyNetwork | None,
) -> int:
    """The coder that spends the fewest bits on all ``grids``, of those that do so on one of them."""
    pairs = list(zip(grids, labels, strict=True))
    numbers = sorted({smallest_coder(grid, levels, known, quick, network)[0] for grid, known in pairs})
    if len(numbers) == 1:
        return numbers[0]

    def bits(number: int) -> float:
        meter = Meter()
        for grid, known in pairs:
            code_grid(meter, number, levels, (*grid.shape,), grid, known, network)
        return meter.bits

    return min(numbers, key=bits)


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
        rate = NetworkRate if spec.is_grid else ContextRate
        self._rate: Rate = rate(quantizer.levels)
        self._network: EntropyNetwork | None = (
            None  # that travels with a large set; trained when it first does
        )
        self._asked, self._saving = 0, 1.0  # in training, and the bits really spent to those that it says

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
        """As :meth:`Parameterization.forward`; in evaluation mode perhaps a view of what is stored."""
        stored = self.stored if index is None else self.stored[index]
        if not self.training:
            return self._received(stored.detach())
        return self._upsample(self.quantizer(stored) if self.quantised else stored)

    def _upsample(self, values: Tensor) -> Tensor:
        """Bilinear, with dyadic weights: exact for grid values in float64."""
        if self._scale > 1:
            _, height, width = self.spec.grid_shape
            values = _interpolated(values, self._scale)[:, :, :height, :width]
        return values.reshape(len(values), *self.spec.shape)

    @property
    def _scale(self) -> int:
        return self.factor if self.spec.is_grid else 1

    def _received(self, stored: Tensor) -> Tensor:
        """Exact samples of ``stored``, a chunk at a time; ``stored`` itself if that is what they are."""
        shape = (len(stored), *self.spec.grid_shape)
        received = stored if self._scale == 1 else torch.empty(shape, device=stored.device)
        for rows, first, last in _chunks(stored.shape, self._scale):
            values = self._values(stored[rows], first, last)
            there = received[rows, :, first * self._scale : last * self._scale]
            if received is stored:
                if torch.equal(values, there):
                    continue
                received = stored.clone()
                there = received[rows, :, first:last]
            there.copy_(values)
        return received.reshape(len(stored), *self.spec.shape)

    def _values(self, stored: Tensor, first: int, last: int) -> Tensor:
        """Float32 samples from the rows ``first`` to ``last`` of ``stored``, cut to the spec's sides."""
        _, height, width = self.spec.grid_shape
        if self._scale == 1:
            return self.quantizer.lookup(self.quantizer.symbols(stored[:, :, first:last])).float()
        above = min(first, 1)  # interpolation looks at a row on either side
        symbols = self.quantizer.symbols(stored[:, :, first - above : last + 1])
        values = _interpolated(self.quantizer.lookup(symbols), self._scale)
        values = values[:, :, above * self._scale :, :width]
        return values[:, :, : min(last * self._scale, height) - first * self._scale].float()

    def symbols(self) -> Tensor:
        """Integer symbols ``[n, channels, height, width]`` of everything stored."""
        return self.quantizer.symbols(self.stored)

    def rate(self, labels: Tensor) -> Tensor:
        if not self.training or self._asked % REFRESH == 0:
            symbols = self.symbols().cpu().numpy()
            estimate = self._rate.refresh(symbols)
            if not self.training or self._asked % (REFRESH * EXACT_EVERY) == 0:
                exact = smallest_coder(symbols, self.quantizer.levels, labels.cpu().numpy())[1]
                self._saving = exact / estimate if estimate else 1.0
        self._asked += self.training
        return self._saving * self._rate(self.quantizer.position(self.stored))

    def encode(self, message: pb.DistilledSet, parts: Sequence[Part], quick: bool = False) -> None:
        symbols, levels = self.symbols().cpu().numpy(), self.quantizer.levels
        ends = np.cumsum([len(labels) for labels, _ in parts])
        grids = np.split(symbols, ends[:-1])
        classes = [labels.cpu().numpy() for labels, _ in parts]
        if not quick and len(grids) == 1 and too_large_to_mix((*symbols.shape,), levels):
            self._network = self._network or own_network(symbols, levels)
        network = None if quick else self._network
        number = _common_coder(grids, classes, levels, quick, network)
        message.pixel.bits = self.quantizer.bits
        message.pixel.factor_log2 = self.factor.bit_length() - 1
        message.pixel.grid = self.quantizer.side_information()
        message.pixel.coder = number
        for grid, known, (_, coder) in zip(grids, classes, parts, strict=True):
            code_grid(coder, number, levels, (*grid.shape,), grid, known, network)

    @classmethod
    def decode(
        cls, message: pb.Pixel, spec: DataSpec, samples: int, parts: Iterable[Part]
    ) -> PixelParameterization:
        """Read the ``samples`` of all ``parts``.

        Raises:
            CorruptError: the message declares a grid, factor or coder that does not exist.
        """
        if message.factor_log2 > 3 or message.coder not in CODERS:
            raise CorruptError(f"unknown factor 2^{message.factor_log2} or coder {message.coder}")
        factor = 1 << message.factor_log2
        shape = stored_shape(spec, factor)
        quantizer = UniformQuantizer.from_side_information(message.bits, message.grid, shape[0])
        stored, start = torch.empty(samples, *shape), 0
        for labels, coder in parts:
            grid = (len(labels), *shape)
            symbols = code_grid(coder, message.coder, quantizer.levels, grid, labels=labels.numpy())
            for rows, first, last in _chunks(grid):
                some = torch.from_numpy(symbols[rows, :, first:last])
                stored[start : start + len(labels)][rows, :, first:last] = quantizer.lookup(some)
            start += len(labels)
        return cls(spec, stored, quantizer, factor)

    def selected(self, index: Tensor) -> PixelParameterization:
        """A copy of the samples at ``index`` only."""
        stored = self.stored.detach()[index]
        return self._like(stored)

    def _like(self, stored: Tensor) -> PixelParameterization:
        """Other values stored in the same way; a network trained on these ones will do for those."""
        like = PixelParameterization(self.spec, stored, self.quantizer, self.factor, self.quantised)
        like._network = self._network
        return like

    def tightened(self, strength: float) -> PixelParameterization:
        with torch.no_grad():
            position = self.quantizer.position(self.stored)
            symbols = tighten(position, self.quantizer.levels, strength)
            stored = self.quantizer.lookup(symbols.to(self.stored.device)).float()
        return self._like(stored)

    def joined(self, samples: Tensor, order: Tensor) -> PixelParameterization:
        added = shrink(samples, self.spec, self.factor)
        stored = torch.cat([self.stored.detach(), added.to(self.stored.device)])[order]
        return self._like(stored)

    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [
            {"params": [self.stored], "lr": learning_rate},
            {"params": list(self.quantizer.parameters()), "lr": learning_rate * GRID_RATE},
        ]

    def describe(self) -> dict[str, Any]:
        return {"parameterization": "pixel", "bits": self.quantizer.bits, "factor": self.factor}
