"""Labels as few numbers: principal components (VQAE's PCA and R-PCA baselines)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

_ROUNDS, _GROWTH = 60, 1.2  # of robust fitting
_PURSUED_ROWS = 1 << 13


class Principal(LabelCodec):
    """``width`` principal components, whose numbers become one of ``levels`` learned levels.

    Tensors: the mean ``[classes]``, the components ``[width, classes]``, scaled so that all have the same
    deviation, and the levels.
    """

    name, number = "pca", 3

    @classmethod
    def check(cls, config: CodecConfig, classes: int) -> None:
        without(config, segment=0)
        within("width", config.width, 1, classes)
        within("levels", config.levels, 2, 256)

    @classmethod
    def columns(cls, config: CodecConfig, classes: int) -> Sequence[int]:
        return [config.levels] * config.width

    @classmethod
    def shapes(cls, config: CodecConfig, classes: int) -> list[Shape]:
        return [(classes,), (config.width, classes), (config.levels,)]

    @classmethod
    def published_bytes(cls, config: CodecConfig, classes: int, rows: int) -> float:
        """Eq. S16."""
        return rows * config.width * 2 + config.width * classes * 2

    @classmethod
    def sizes(cls, classes: int) -> Iterator[CodecConfig]:
        for width in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
            if width < classes:
                yield from (CodecConfig(cls.name, width=width, levels=k) for k in (2, 4, 8, 16, 32))

    @classmethod
    def fit(cls, config: CodecConfig, labels: Tensor, seed: int) -> Self:
        rows = fitted_rows(labels, torch_stream(seed, "rows"))
        mean, scaled = _components(cls._explained(rows), config.width)
        numbers = _projected(rows, mean, scaled)
        tensors = [travelling(mean), travelling(scaled), travelling(spaced_levels(numbers, config.levels))]
        return cls(config, labels.shape[1], tensors)

    @staticmethod
    def _explained(rows: Tensor) -> Tensor:
        """The part of ``rows`` that components are to explain."""
        return rows

    def symbols(self, labels: Tensor) -> Table:
        mean, scaled, levels = self._values
        return nearest(_projected(labels.float(), mean, scaled), levels).numpy().astype(np.uint16)

    def labels(self, symbols: Table) -> Tensor:
        mean, scaled, levels = self._values
        return normalised(levels[torch.from_numpy(symbols.astype(np.int64))] @ scaled + mean)


class RobustPrincipal(Principal):
    """Components of the low-rank part that principal component pursuit finds (Candès et al., 2011).

    The sparse part is not stored, as in VQAE's R-PCA baseline; the bytes are those of PCA.
    """

    name = "rpca"

    @staticmethod
    def _explained(rows: Tensor) -> Tensor:
        """By the inexact augmented Lagrangian method (Lin et al., 2010)."""
        rows = rows[:_PURSUED_ROWS].double()
        weight = 1 / max(rows.shape) ** 0.5
        largest = torch.linalg.matrix_norm(rows, 2)
        dual = rows / torch.maximum(largest, rows.abs().max() / weight)
        penalty, sparse, low = 1.25 / largest, torch.zeros_like(rows), rows
        for _ in range(_ROUNDS):
            left, sizes, right = torch.linalg.svd(rows - sparse + dual / penalty, full_matrices=False)
            low = left * (sizes - 1 / penalty).clamp(min=0) @ right
            rest = rows - low + dual / penalty
            sparse = rest.sign() * (rest.abs() - weight / penalty).clamp(min=0)
            dual = dual + penalty * (rows - low - sparse)
            penalty = penalty * _GROWTH
        return low.float()


def _components(rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The mean, and components ``[width, classes]`` times the deviation along each."""
    mean = rows.mean(0)
    _, sizes, right = torch.linalg.svd(rows - mean, full_matrices=False)
    deviation = sizes[:width] / max(1, len(rows) - 1) ** 0.5
    scaled = torch.zeros(width, rows.shape[1])
    scaled[: len(deviation)] = right[:width] * deviation.clamp(min=1e-6)[:, None]
    return mean, scaled


def _projected(rows: Tensor, mean: Tensor, scaled: Tensor) -> Tensor:
    return torch.linalg.lstsq(scaled.T, (rows - mean).T, driver="gelsd").solution.T
