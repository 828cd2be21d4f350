"""Sets stored otherwise than as evenly quantised pixels with hard labels, to test the wire format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from making import TINY_LATENT
from torch import Tensor

from fedbits.data import DataSpec, TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.labels import SoftLabels
from fedbits.parameterization import (
    EpitomeConfig,
    EpitomeParameterization,
    FloatParameterization,
    LatentConfig,
    LatentParameterization,
    PixelParameterization,
)
from fedbits.parameterization.pixel import shrink
from fedbits.parameterization.transform import forward
from fedbits.quantization import FixedQuantizer, Grid
from fedbits.quantization.banded import BandedGrid


def first_samples(data: TensorData, per_class: int) -> tuple[Tensor, list[int]]:
    """The first ``per_class`` samples of each class, and how many there are of each."""
    index = [where[:per_class] for where in data.class_indices()]
    return data.batch(torch.cat(index)).samples, [len(where) for where in index]


def on_grid(data: TensorData, grid: Grid, per_class: int = 2, factor: int = 1) -> DistilledSet:
    """Samples on a given grid."""
    samples, counts = first_samples(data, per_class)
    small = shrink(samples, data.spec, factor)
    stored = PixelParameterization(data.spec, small, FixedQuantizer(grid), factor)
    return DistilledSet(data.spec, stored, counts, "random")


def powers(bits: int, origins: list[float], steps: list[float]) -> Grid:
    """Levels at additive powers of two, for each channel or for all."""
    return Grid(bits, torch.tensor(origins), torch.tensor(steps), spacing=1)


def as_floats(data: TensorData, per_class: int = 2) -> DistilledSet:
    """Samples as float32 numbers."""
    samples, counts = first_samples(data, per_class)
    return DistilledSet(data.spec, FloatParameterization(data.spec, samples), counts, "random")


def taught(distilled: DistilledSet, rate: float | None = 0.015625, seed: int = 0) -> DistilledSet:
    """The same set with soft labels of any logits, and a learning rate."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(distilled), distilled.spec.classes, generator=generator)
    return DistilledSet(
        distilled.spec,
        distilled.parameterization,
        distilled.class_counts(),
        distilled.recipe,
        SoftLabels(logits.half().float()),
        rate,
    )


def in_bands(
    data: TensorData, low: Grid, high: Grid, band: int, per_class: int = 2, factor: int = 1
) -> DistilledSet:
    """Coefficients of the samples' cosine transform, on a given grid for each band."""
    samples, counts = first_samples(data, per_class)
    coefficients = forward(shrink(samples, data.spec, factor))
    fixed = FixedQuantizer(BandedGrid(low, high, band))
    stored = PixelParameterization(data.spec, coefficients, fixed, factor, transform="dct")
    return DistilledSet(data.spec, stored, counts, "random")


def even(bits: int, origins: list[float], steps: list[float]) -> Grid:
    """Even levels, for each channel or for all."""
    return Grid(bits, torch.tensor(origins), torch.tensor(steps))


def transformed(
    stored: PixelParameterization, counts: Sequence[int] = (3, 2, 3), spec: DataSpec | None = None
) -> DistilledSet:
    """A set of what ``stored`` holds."""
    return DistilledSet(spec or stored.spec, stored, list(counts), "random")


def in_epitome(data: TensorData, per_class: int = 2, seed: int = 0, **settings: Any) -> DistilledSet:
    """As many samples as the first of each class, of an epitome whose every number is random."""
    counts, config = first_samples(data, per_class)[1], EpitomeConfig(**settings)
    form, draws = config.form(data.spec), torch.Generator().manual_seed(seed)
    shapes = [(sum(counts), *form.codes), form.token_shape, *form.network_shapes]
    codes, tokens, *network = (0.5 * torch.randn(shape, generator=draws) for shape in shapes)
    stored = EpitomeParameterization(data.spec, config, codes, tokens, network)
    return DistilledSet(data.spec, stored, counts, "random")


def in_latents(data: TensorData, per_class: int = 2, seed: int = 0, **settings: Any) -> DistilledSet:
    """The first samples of each class, as latents in a hurry."""
    samples, counts = first_samples(data, per_class)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    config = LatentConfig(**{**TINY_LATENT, **settings})
    stored = LatentParameterization.from_samples(samples, labels, data.spec, config, seed)
    return DistilledSet(data.spec, stored, counts, "random")
