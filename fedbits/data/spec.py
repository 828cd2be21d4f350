"""What a receiver must know of a data set: the form of a sample, the classes, the normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

DType = Literal["uint8", "float32"]
MIN_STD = 1e-4  # a constant feature must not divide by zero; well above the smallest normal float16


def halves(values: Sequence[float]) -> tuple[float, ...]:
    """``values`` rounded to float16, the precision at which a blob carries side information."""
    return tuple(np.clip(np.asarray(values, float), -65504, 65504).astype(np.float16).astype(float).tolist())


@dataclass(frozen=True)
class DataSpec:
    """The task's side of a data set.

    Attributes:
        name: the data set as a user names it (``fashion_mnist``, ``npz:beams``).
        shape: one sample: ``(channels, height, width)`` for images and grids, ``(features,)`` for flat ones.
        classes: number of classes; labels are ``0 .. classes-1``.
        mean, std: normalisation, one value per channel (images, grids) or per feature (flat samples), in
            units of [0, 1] for uint8 data and of the data itself for float32. Exactly representable in
            float16, so that a blob that carries them changes nothing.
        dtype: how the data itself is stored.
        class_names: for people; not part of a blob.
        pictures: whether a sample that is moved, turned, mirrored or scaled is still one of its class; only
            then are grids augmented. Not part of a blob, but of what a known task is.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: DType = "uint8"
    class_names: tuple[str, ...] = ()
    pictures: bool = field(default=True, repr=False)  # not in the digests of runs that there were before it

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", halves(self.mean))
        object.__setattr__(self, "std", halves(np.maximum(self.std, MIN_STD).tolist()))
        if len(self.mean) != self.shape[0] or len(self.std) != self.shape[0]:
            raise ValueError(f"expected {self.shape[0]} means and deviations for shape {self.shape}")

    @property
    def elements(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.shape)

    @property
    def is_grid(self) -> bool:
        """True for samples with a height and a width (images, grids of measurements)."""
        return len(self.shape) == 3

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """One sample as ``(channels, height, width)``; flat samples are one row of one channel."""
        if len(self.shape) == 3:
            return self.shape[0], self.shape[1], self.shape[2]
        return 1, 1, self.elements

    def same_task(self, other: DataSpec) -> bool:
        """Whether samples of the two can be mixed: same shape, classes and normalisation."""
        mine = (self.shape, self.classes, self.mean, self.std, self.dtype)
        return mine == (other.shape, other.classes, other.mean, other.std, other.dtype)

    def normalise(self, raw: Tensor) -> Tensor:
        """``[n, *shape]`` of stored values to float32 of about zero mean and unit deviation."""
        mean, std = self._columns(raw)
        values = raw.to(torch.float32)
        if self.dtype == "uint8":
            values = values / 255.0
        return (values - mean) / std

    def denormalise(self, samples: Tensor) -> Tensor:
        """The inverse of :meth:`normalise`; uint8 data is rounded and clipped to 0..255."""
        mean, std = self._columns(samples)
        values = samples * std + mean
        if self.dtype == "uint8":
            return (values * 255.0).round().clamp(0, 255).to(torch.uint8)
        return values

    def _columns(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1) + (1,) * (len(self.shape) - 1)
        mean = torch.tensor(self.mean, dtype=torch.float32, device=like.device).view(shape)
        std = torch.tensor(self.std, dtype=torch.float32, device=like.device).view(shape)
        return mean, std
