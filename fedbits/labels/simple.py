"""The simple rivals of VQAE (its section 5.1): float16, learned levels, the largest entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log2
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedbits.coding.weights import Shape
from fedbits.labels.codec import (
    CodecConfig,
    LabelCodec,
    Table,
    fitted_rows,
    nearest,
    normalised,
    spaced_levels,
    travelling,
    within,
    without,
)
from fedbits.rng import torch_stream

_MOST_LEVELS = 256
_LEAST_LOGARITHM = -14.0  # of the values of the largest entries, whose logarithms are quantised


class Float16(LabelCodec):
    """The reference, and what pruning (LPLD) stores for fewer epochs: two bytes each number."""

    name, number = "float16", 0

    @classmethod
    def check(cls, config: CodecConfig, classes: int) -> None:
        without(config, width=0, segment=0, levels=0)

    @classmethod
    def columns(cls, config: CodecConfig, classes: int) -> Sequence[int]:
        return [256] * 2 * classes

    @classmethod
    def shapes(cls, config: CodecConfig, classes: int) -> list[Shape]:
        return []

    @classmethod
    def sizes(cls, classes: int) -> Iterator[CodecConfig]:
        yield CodecConfig(cls.name)

    @classmethod
    def fit(cls, config: CodecConfig, labels: Tensor, seed: int) -> Self:
        return cls(config, labels.shape[1], [])

    @classmethod
    def published_bytes(cls, config: CodecConfig, classes: int, rows: int) -> float:
        """Eq. S11."""
        return rows * classes * 2

    def symbols(self, labels: Tensor) -> Table:
        """Of each number the high byte, then the low one."""
        stored = labels.half().cpu().numpy().astype(">f2").view(np.uint8)
        return stored.reshape(len(labels), -1).astype(np.uint16)

    def labels(self, symbols: Table) -> Tensor:
        stored = np.ascontiguousarray(symbols.astype(np.uint8)).view(">f2").astype(np.float32)
        return normalised(torch.from_numpy(np.nan_to_num(stored, posinf=1.0, neginf=0.0)))


class Scalar(LabelCodec):
    """Every probability becomes one of ``levels`` learned levels."""

    name, number = "scalar", 1

    @classmethod
    def check(cls, config: CodecConfig, classes: int) -> None:
        without(config, width=0, segment=0)
        within("levels", config.levels, 2, _MOST_LEVELS)

    @classmethod
    def columns(cls, config: CodecConfig, classes: int) -> Sequence[int]:
        return [config.levels] * classes

    @classmethod
    def shapes(cls, config: CodecConfig, classes: int) -> list[Shape]:
        return [(config.levels,)]

    @classmethod
    def sizes(cls, classes: int) -> Iterator[CodecConfig]:
        yield from (CodecConfig(cls.name, levels=k) for k in (2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256))

    @classmethod
    def fit(cls, config: CodecConfig, labels: Tensor, seed: int) -> Self:
        rows = fitted_rows(labels, torch_stream(seed, "rows"))
        return cls(config, labels.shape[1], [travelling(spaced_levels(rows, config.levels), 1e-3)])

    @classmethod
    def published_bytes(cls, config: CodecConfig, classes: int, rows: int) -> float:
        """Eq. S17."""
        return rows * classes * log2(config.levels) / 8 + 2 * config.levels

    def symbols(self, labels: Tensor) -> Table:
        return nearest(labels.float(), self._values[0]).numpy().astype(np.uint16)

    def labels(self, symbols: Table) -> Tensor:
        return normalised(self._values[0][torch.from_numpy(symbols.astype(np.int64))])


class Top(LabelCodec):
    """The ``width`` largest probabilities, each as one of ``levels``; the others share what is left.

    The first columns are classes, the largest first; the others quantised logarithms of probabilities.
    """

    name, number = "top", 2

    @classmethod
    def check(cls, config: CodecConfig, classes: int) -> None:
        without(config, segment=0)
        within("width", config.width, 1, classes)
        within("levels", config.levels, 2, _MOST_LEVELS)

    @classmethod
    def columns(cls, config: CodecConfig, classes: int) -> Sequence[int]:
        return [classes] * config.width + [config.levels] * config.width

    @classmethod
    def shapes(cls, config: CodecConfig, classes: int) -> list[Shape]:
        return [(config.levels,)]

    @classmethod
    def sizes(cls, classes: int) -> Iterator[CodecConfig]:
        for width in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32):
            if width <= classes:
                yield from (CodecConfig(cls.name, width=width, levels=k) for k in (2, 4, 8, 16, 32))

    @classmethod
    def fit(cls, config: CodecConfig, labels: Tensor, seed: int) -> Self:
        rows = fitted_rows(labels, torch_stream(seed, "rows"))
        values = rows.topk(config.width, dim=1).values.log().clamp(min=_LEAST_LOGARITHM)
        return cls(config, labels.shape[1], [travelling(spaced_levels(values, config.levels), 1e-3)])

    @classmethod
    def published_bytes(cls, config: CodecConfig, classes: int, rows: int) -> float:
        """Eq. S15."""
        return rows * config.width * (2 + log2(classes) / 8)

    def symbols(self, labels: Tensor) -> Table:
        values, places = labels.float().topk(self.config.width, dim=1)
        quantised = nearest(values.log().clamp(min=_LEAST_LOGARITHM), self._values[0])
        return torch.cat([places, quantised], 1).numpy().astype(np.uint16)

    def labels(self, symbols: Table) -> Tensor:
        places, quantised = torch.from_numpy(symbols.astype(np.int64)).split(self.config.width, dim=1)
        values = self._values[0][quantised].clamp(max=0).exp()
        rest = (1 - values.sum(1, keepdim=True)).clamp(min=0) / max(1, self.classes - self.config.width)
        return normalised(rest.repeat(1, self.classes).scatter(1, places, values))
