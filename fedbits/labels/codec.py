"""What every codec of labels owes: probabilities to symbols, and back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding.weights import QuantisedTensor, Shape, fraction_bits_for, quantise
from fedbits.errors import ConfigError

Table = NDArray[np.uint16]
LEAST = 1e-6  # the ε of VQAE's Eq. 9: before they sum to 1, reconstructed probabilities are at least that
_PRECISION = 0.02  # of tensors that travel: root mean square rounding error, relative to their size
_FITTED_ROWS = 1 << 16  # a codec is fitted to so many labels at most


@dataclass(frozen=True)
class CodecConfig:
    """Which codec, and its size; each codec says which sizes it has and what they mean.

    Attributes:
        name: a key of :data:`fedbits.labels.CODECS`.
        width: numbers that a label is reduced to.
        segment: of those, how many are quantised together.
        levels: symbols that each number, or each segment, may become.
    """

    name: str
    width: int = 0
    segment: int = 0
    levels: int = 0


class LabelCodec(ABC):
    """Labels, rows of probabilities ``[rows, classes]``, as rows of symbols ``[rows, columns]``.

    A codec is fitted to labels once; what decoding takes besides symbols are its ``tensors``, which travel.
    Labels are made of symbols in floating point: on another machine they may differ in the last bits.
    """

    name: ClassVar[str]
    number: ClassVar[int]  # part of the wire format, shared by those that differ in how they are fitted

    def __init__(self, config: CodecConfig, classes: int, tensors: list[QuantisedTensor]) -> None:
        self.config, self.classes, self.tensors = config, classes, tensors
        self._values = [torch.from_numpy(tensor.floats().astype(np.float32)) for tensor in tensors]

    @classmethod
    @abstractmethod
    def check(cls, config: CodecConfig, classes: int) -> None:
        """Raise :class:`ConfigError` unless the codec exists in this size."""

    @classmethod
    @abstractmethod
    def columns(cls, config: CodecConfig, classes: int) -> Sequence[int]:
        """Of each column, how many symbols there are."""

    @classmethod
    @abstractmethod
    def shapes(cls, config: CodecConfig, classes: int) -> list[Shape]:
        """Of the tensors that travel."""

    @classmethod
    @abstractmethod
    def sizes(cls, classes: int) -> Iterator[CodecConfig]:
        """Sizes that are worth trying."""

    @classmethod
    @abstractmethod
    def fit(cls, config: CodecConfig, labels: Tensor, seed: int) -> Self:
        """The codec for such as ``labels`` ``[rows, classes]``."""

    @classmethod
    @abstractmethod
    def published_bytes(cls, config: CodecConfig, classes: int, rows: int) -> float:
        """What the paper counts for ``rows`` labels (VQAE, Eqs. S11 to S17)."""

    @abstractmethod
    def symbols(self, labels: Tensor) -> Table:
        """Those that stand for ``labels`` ``[rows, classes]``."""

    @abstractmethod
    def labels(self, symbols: Table) -> Tensor:
        """Float32 probabilities ``[rows, classes]``."""


def declared_bits(config: CodecConfig, classes: int, kind: type[LabelCodec]) -> float:
    """Bits of the symbols of one label, before they are entropy-coded."""
    return sum(math.log2(levels) for levels in kind.columns(config, classes))


def normalised(values: Tensor) -> Tensor:
    """Probabilities of ``values`` ``[rows, classes]``: VQAE's Eq. 9."""
    floored = values.clamp(min=LEAST)
    return floored / floored.sum(1, keepdim=True)


def fitted_rows(labels: Tensor, generator: torch.Generator) -> Tensor:
    """``labels`` as float32, or of very many a random part."""
    if len(labels) > _FITTED_ROWS:
        labels = labels[torch.randperm(len(labels), generator=generator)[:_FITTED_ROWS]]
    return labels.float()


def travelling(values: Tensor, precision: float = _PRECISION) -> QuantisedTensor:
    """``values`` as they travel."""
    array = values.detach().double().cpu().numpy()
    return quantise(array, fraction_bits_for(array, precision))


def nearest(values: Tensor, levels: Tensor) -> Tensor:
    """Places in ascending ``levels`` ``[k]`` of the nearest to each of ``values``."""
    return torch.bucketize(values.contiguous(), (levels[1:] + levels[:-1]) / 2)


def spaced_levels(values: Tensor, count: int, rounds: int = 30) -> Tensor:
    """``count`` levels, ascending, of least squared error for ``values`` (Lloyd, 1982, from quantiles)."""
    ordered = values.flatten().double().sort().values
    places = ((torch.arange(count) + 0.5) / count * len(ordered)).long().clamp(max=len(ordered) - 1)
    levels = torch.linspace(float(ordered[0]), float(ordered[-1]), count, dtype=torch.float64)
    levels = (levels + ordered[places]) / 2
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), ordered.cumsum(0)])
    for _ in range(rounds):
        edges = torch.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        edges = torch.cat([torch.tensor([0]), edges, torch.tensor([len(ordered)])])
        counts = edges.diff()
        means = sums[edges].diff() / counts.clamp(min=1)
        levels = torch.where(counts > 0, means, levels).sort().values
    return levels.float()


def without(config: CodecConfig, **unused: int) -> None:
    """Raise :class:`ConfigError` if ``config`` gives what its codec does not have."""
    for name, value in unused.items():
        if getattr(config, name) != value:
            raise ConfigError(f"{name} of {config.name} labels is {getattr(config, name)}: it has none")


def within(name: str, value: int, least: int, most: int) -> None:
    """Raise :class:`ConfigError` unless ``value`` is."""
    if not least <= value <= most:
        raise ConfigError(f"{name} of the labels is {value}: expected {least} to {most}")
