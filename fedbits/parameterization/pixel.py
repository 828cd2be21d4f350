"""Quantised samples, perhaps stored at a lower resolution and upsampled by the receiver (the idea of IDC).

Or their cosine transform, quantised in two bands (QuADD, Appendix B).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding import CODERS, Meter, code_grid, smallest_coder, too_large_to_mix
from fedbits.coding.network import EntropyNetwork
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, CorruptError
from fedbits.parameterization import transform as dct
from fedbits.parameterization.base import Parameterization, Part, StorageConfig
from fedbits.parameterization.entropy import own_network
from fedbits.parameterization.network_rate import NetworkRate
from fedbits.parameterization.rate import EXACT_EVERY, REFRESH, ContextRate, Rate
from fedbits.parameterization.tighten import tighten
from fedbits.quantization import FixedQuantizer, Grid, Moment, Quantizer, QuantizerConfig
from fedbits.quantization import build as build_quantizer
from fedbits.quantization.banded import BandedGrid, BandedQuantizer, default_band
from fedbits.wire import distilled_set_pb2 as pb

Transform = Literal["none", "dct"]
TRANSFORMS: tuple[Transform, ...] = get_args(Transform)  # their numbers are part of the wire format

_LAST_BIT = 2.0**-20  # some, to be sure
_CHUNK = 1 << 18  # numbers of samples that are looked up or interpolated at once, in some 30 bytes each


@dataclass(frozen=True)
class PixelConfig(StorageConfig):
    """How samples are stored: ``bits`` 1–8 a value, each side ``factor`` (1, 2, 4 or 8) times smaller.

    Attributes:
        transform: what is stored: samples (``none``), or the coefficients of their cosine transform (``dct``:
            of images whose stored sides are at most :data:`fedbits.parameterization.transform.LARGEST_SIDE`).
        band: coefficients whose row and column add up to less have a grid of their own; 0 stands for a
            quarter of the sum of the stored sides.
    """

    bits: int = 3
    factor: int = 1
    quantizer: QuantizerConfig = QuantizerConfig()  # noqa: RUF009 - frozen
    transform: Transform = "none"
    band: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where there is no such transform."""
        if self.transform not in TRANSFORMS:
            raise ConfigError(f"transform is {self.transform!r}: expected {' or '.join(TRANSFORMS)}")


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


def _band(spec: DataSpec, config: PixelConfig) -> int:
    """Where the low band of a cosine transform ends.

    Raises:
        ConfigError: samples have no such transform, or it has no such band.
    """
    _, height, width = stored_shape(spec, config.factor)
    if not spec.is_grid:
        raise ConfigError(f"transform is 'dct': it needs images, but samples of {spec.name} are flat")
    if max(height, width) > dct.LARGEST_SIDE:
        raise ConfigError(
            f"transform is 'dct' and stored sides are {height} and {width}: expected at most "
            f"{dct.LARGEST_SIDE}, so give a larger factor"
        )
    if not 0 <= config.band < height + width:
        raise ConfigError(
            f"band is {config.band}: expected 1 to {height + width - 1}, or 0 for a quarter of it"
        )
    return config.band or default_band(height, width)


def _interpolated(values: Tensor, factor: int) -> Tensor:
    return F.interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)


def _chunks(shape: tuple[int, ...], factor: int = 1, whole: bool = False) -> Iterator[tuple[slice, int, int]]:
    """Samples, and rows from a first to a last, that together make up a stored ``shape``.

    Interpolated by ``factor``, each chunk has about :data:`_CHUNK` numbers (or is one row of one sample; if
    samples are to be ``whole``, one sample).
    """
    n, channels, height, width = shape
    row = channels * width * factor**2
    high = height if whole else max(1, min(height, _CHUNK // row))
    many = max(1, _CHUNK // (row * height))
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
    what is trained is what is sent (unless the quantiser is a relaxation, or the post-training baseline).
    """

    def __init__(
        self,
        spec: DataSpec,
        stored: Tensor,
        quantizer: Quantizer,
        factor: int = 1,
        learning_rate: float = QuantizerConfig().learning_rate,
        transform: Transform = "none",
    ) -> None:
        """``stored`` ``[n, channels, height, width]`` float32 at the stored resolution, normalised.

        ``learning_rate`` of the quantiser is a multiple of that of ``stored``. With a ``transform``,
        ``stored`` are coefficients, and the quantiser's grid is a :class:`BandedGrid`.
        """
        super().__init__()
        self.spec, self.factor, self.transform = spec, factor, transform
        self.quantizer, self._learning_rate = quantizer, learning_rate
        self.stored = torch.nn.Parameter(stored)
        rate = NetworkRate if spec.is_grid and transform == "none" else ContextRate
        self._rate: Rate = rate(quantizer.levels)
        self._network: EntropyNetwork | None = (
            None  # that travels with a large set; trained when it first does
        )
        # Of training: its step, whether symbols were looked at, and the bits really spent to those foreseen.
        self._step, self._looked, self._saving = 0, False, 1.0

    @classmethod
    def from_samples(cls, samples: Tensor, spec: DataSpec, config: PixelConfig) -> PixelParameterization:
        """Start from normalised samples ``[n, *spec.shape]``, with a quantiser fitted to them.

        Raises:
            ConfigError: ``config`` asks for a transform that these samples cannot have.
        """
        smaller = shrink(samples, spec, config.factor)
        quantizer: Quantizer
        if config.transform == "dct":
            band = _band(spec, config)
            smaller = dct.forward(smaller)
            quantizer = BandedQuantizer.covering(config.bits, smaller, config.quantizer, band)
        else:
            quantizer = build_quantizer(config.quantizer, config.bits, smaller)
        stored, rate = quantizer.stored(smaller), config.quantizer.learning_rate
        return cls(spec, stored, quantizer, config.factor, rate, config.transform)

    @property
    def bounded(self) -> bool:  # type: ignore[override]
        return self.quantizer.priced

    def __len__(self) -> int:
        return len(self.stored)

    def forward(self, index: Tensor | None = None) -> Tensor:
        """As :meth:`Parameterization.forward`; in evaluation mode perhaps a view of what is stored."""
        stored = self.stored if index is None else self.stored[index]
        if not self.training:
            return self._received(stored.detach())
        return self._upsample(self._seen(stored))

    def _seen(self, stored: Tensor) -> Tensor:
        """What training sees at the stored resolution; of coefficients, exactly what a receiver does."""
        levels: Tensor = self.quantizer(stored)
        if self.transform == "none":
            return levels
        with torch.no_grad():
            exact = self.quantizer.grid().lookup(self.quantizer.symbols(stored))
            # Float32 arithmetic gives levels but for their last bit; anything else is a relaxation of them.
            rounded = (levels - exact).abs() <= _LAST_BIT * exact.abs()
            exact = torch.where(rounded, exact, levels.double())
        return dct.seen(levels, exact)

    def begin(self, moment: Moment) -> None:
        self._step = moment.step
        self.quantizer.begin(moment, self.stored.detach())

    def settle(self) -> None:
        self.quantizer.settle(self.stored.detach())

    def penalty(self) -> Tensor:
        """Of values as stored; the transform is orthonormal, so of coefficients it is that of samples."""
        return self.quantizer.penalty(self.stored)

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
        as_they_are = self._scale == 1 and self.transform == "none"
        received = stored if as_they_are else torch.empty(shape, device=stored.device)
        for some in self._blocks(stored.shape):
            values_of = self._exact(stored[some])
            for rows, first, last in _chunks(stored[some].shape, self._scale):
                values = self._enlarged(values_of, rows, first, last)
                there = received[some][rows, :, first * self._scale : last * self._scale]
                if received is stored:
                    if torch.equal(values, there):
                        continue
                    received = stored.clone()
                    there = received[rows, :, first:last]
                there.copy_(values)
        return received.reshape(len(stored), *self.spec.shape)

    def _blocks(self, shape: tuple[int, ...]) -> Iterator[slice]:
        """Samples that are looked up together: all, as rows are then taken by themselves, or whole ones."""
        n, *sides = shape
        many = n if self.transform == "none" else max(1, _CHUNK // 2 // math.prod(sides))
        return (slice(start, start + many) for start in range(0, n, max(1, many)))

    def _exact(self, stored: Tensor) -> Callable[[slice, int, int], Tensor]:
        """What gives the exact float64 values of some samples' rows, from a first to a last."""
        grid = self.quantizer.grid()
        if self.transform == "none":
            return lambda rows, first, last: grid.lookup(self.quantizer.symbols(stored[rows, :, first:last]))
        whole = dct.inverse(grid.lookup(self.quantizer.symbols(stored)))
        return lambda rows, first, last: whole[rows, :, first:last]

    def _enlarged(
        self, values_of: Callable[[slice, int, int], Tensor], rows: slice, first: int, last: int
    ) -> Tensor:
        """Float32 samples from the stored rows ``first`` to ``last``, cut to the spec's sides."""
        _, height, width = self.spec.grid_shape
        if self._scale == 1:
            return values_of(rows, first, last).float()
        above = min(first, 1)  # interpolation looks at a row on either side
        values = _interpolated(values_of(rows, first - above, last + 1), self._scale)
        values = values[:, :, above * self._scale :, :width]
        return values[:, :, : min(last * self._scale, height) - first * self._scale].float()

    def symbols(self) -> Tensor:
        """Integer symbols ``[n, channels, height, width]`` of everything stored."""
        return self.quantizer.symbols(self.stored)

    def rate(self, labels: Tensor) -> Tensor:
        if not self.training or not self._looked or self._step % REFRESH == 0:
            symbols = self.symbols().cpu().numpy()
            estimate = self._rate.refresh(symbols)
            if not self.training or not self._looked or self._step % (REFRESH * EXACT_EVERY) == 0:
                exact = smallest_coder(symbols, self.quantizer.levels, labels.cpu().numpy())[1]
                self._saving = exact / estimate if estimate else 1.0
            self._looked = True
        return self._saving * self._rate(self.quantizer.position(self.stored))

    def get_extra_state(self) -> dict[str, float]:
        """What a resumed run, which looks at symbols at once, takes over from the last measurement."""
        return {"looked": self._looked, "saving": self._saving}

    def set_extra_state(self, state: dict[str, float]) -> None:
        self._looked, self._saving = bool(state["looked"]), state["saving"]

    def encode(self, message: pb.DistilledSet, parts: Sequence[Part], quick: bool = False) -> None:
        symbols, levels = self.symbols().cpu().numpy(), self.quantizer.levels
        ends = np.cumsum([len(labels) for labels, _ in parts])
        grids = np.split(symbols, ends[:-1])
        classes = [labels.cpu().numpy() for labels, _ in parts]
        if not quick and len(grids) == 1 and too_large_to_mix((*symbols.shape,), levels):
            self._network = self._network or own_network(symbols, levels)
        network = None if quick else self._network
        number = _common_coder(grids, classes, levels, quick, network)
        self.declare(message.pixel)
        message.pixel.coder = number
        for part, known, (_, coder) in zip(grids, classes, parts, strict=True):
            code_grid(coder, number, levels, (*part.shape,), part, known, network)

    def declare(self, message: pb.Pixel) -> None:
        """Write what a receiver needs to make samples of symbols."""
        grid = self.quantizer.grid()
        message.bits, message.spacing, message.grid = grid.bits, grid.spacing, grid.side_information()
        message.factor_log2 = self.factor.bit_length() - 1
        message.transform = TRANSFORMS.index(self.transform)
        message.band = grid.band if isinstance(grid, BandedGrid) else 0

    @classmethod
    def decode(
        cls, message: pb.Pixel, spec: DataSpec, samples: int, parts: Iterable[Part]
    ) -> PixelParameterization:
        """Read the ``samples`` of all ``parts``.

        Raises:
            CorruptError: the message declares a grid, factor, coder or transform that does not exist.
        """
        if message.factor_log2 > 3 or message.coder not in CODERS:
            raise CorruptError(f"unknown factor 2^{message.factor_log2} or coder {message.coder}")
        factor = 1 << message.factor_log2
        shape = stored_shape(spec, factor)
        levels, transform = _read_grid(message, spec, shape)
        stored, start = torch.empty(samples, *shape), 0
        for labels, coder in parts:
            grid = (len(labels), *shape)
            symbols = code_grid(coder, message.coder, levels.levels, grid, labels=labels.numpy())
            for rows, first, last in _chunks(grid, whole=transform != "none"):
                some = torch.from_numpy(symbols[rows, :, first:last])
                stored[start : start + len(labels)][rows, :, first:last] = levels.lookup(some)
            start += len(labels)
        return cls(spec, stored, FixedQuantizer(levels), factor, transform=transform)

    def selected(self, index: Tensor) -> PixelParameterization:
        """A copy of the samples at ``index`` only."""
        return self._like(self._on_grid()[index])

    def _like(self, stored: Tensor) -> PixelParameterization:
        """Levels ``stored`` on the same grid; a network trained on these symbols will do for those."""
        fixed = FixedQuantizer(self.quantizer.grid())
        like = PixelParameterization(self.spec, stored, fixed, self.factor, transform=self.transform)
        like._network = self._network
        return like

    def _on_grid(self) -> Tensor:
        return self.quantizer.grid().lookup(self.symbols()).float()

    def tightened(self, strength: float) -> PixelParameterization:
        with torch.no_grad():
            position = self.quantizer.position(self.stored)
            symbols = tighten(position, self.quantizer.levels, strength, self.transform == "none")
        return self._like(self.quantizer.grid().lookup(symbols.to(self.stored.device)).float())

    def joined(self, samples: Tensor, labels: Tensor, order: Tensor) -> PixelParameterization:
        added = shrink(samples, self.spec, self.factor)
        added = added if self.transform == "none" else dct.forward(added)
        return self._like(torch.cat([self._on_grid(), added.to(self.stored.device)])[order])

    def degraded(self, samples: Tensor) -> Tensor:
        added = shrink(samples, self.spec, self.factor)
        return self._like(added if self.transform == "none" else dct.forward(added)).eval()()

    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [
            {"params": [self.stored], "lr": learning_rate},
            {"params": list(self.quantizer.parameters()), "lr": learning_rate * self._learning_rate},
        ]

    def describe(self) -> dict[str, Any]:
        facts = {"parameterization": "pixel", "bits": self.quantizer.bits, "factor": self.factor}
        return facts if self.transform == "none" else {**facts, "transform": self.transform}


def _read_grid(message: pb.Pixel, spec: DataSpec, shape: tuple[int, int, int]) -> tuple[Grid, Transform]:
    """The levels of what is stored in ``shape``, and what that is; raises :class:`CorruptError`."""
    if message.transform >= len(TRANSFORMS):
        raise CorruptError(f"unknown transform {message.transform}")
    transform, (channels, height, width) = TRANSFORMS[message.transform], shape
    if transform == "none":
        return Grid.from_side_information(message.bits, message.grid, channels, message.spacing), transform
    if not spec.is_grid or max(height, width) > dct.LARGEST_SIDE or not 1 <= message.band < height + width:
        raise CorruptError(f"there is no transform with band {message.band} of samples stored as {shape}")
    bands = BandedGrid.from_bands(message.bits, message.grid, channels, message.spacing, message.band)
    return bands, transform
