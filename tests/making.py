"""Small data sets, recipes and blobs for the tests of the core."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import Any
from unittest import mock

import torch

from fedbits import recipes
from fedbits.container import encode
from fedbits.data import DataSpec, TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.labels import ViewsConfig
from fedbits.labels.teaching import TeacherConfig, TeachingConfig
from fedbits.matching import (
    BilevelConfig,
    DistributionConfig,
    GradientConfig,
    ObjectiveConfig,
    RecoveryConfig,
    RegressionConfig,
    TrajectoryConfig,
)
from fedbits.matching.experts import ExpertConfig
from fedbits.matching.pool import PoolConfig
from fedbits.matching.students import StudentsConfig
from fedbits.parameterization import PixelParameterization
from fedbits.parameterization.pixel import PixelConfig
from fedbits.recipe import Recipe
from fedbits.wire import distilled_set_pb2 as pb

TINY_EPITOME: dict[str, Any] = {"tokens": 4, "width": 2, "heads": 2, "nonzeros": 2, "fit_steps": 10}
TINY_LATENT: dict[str, Any] = {
    "numbers": 4,
    "scales": (),
    "hidden": 3,
    "entropy_hidden": 4,
    "context": 8,
    "fit_steps": 10,
}


TINY_TEACHING = TeachingConfig("scalar", views=ViewsConfig(epochs=2), teacher=TeacherConfig(width=4, steps=2))


def make_spec(shape: tuple[int, ...], classes: int = 3, dtype: str = "uint8", name: str = "made") -> DataSpec:
    """A spec with a normalisation of its own for every channel or feature."""
    mean = tuple(0.3 + 0.1 * (i % 4) for i in range(shape[0]))
    return DataSpec(name, shape, classes, mean, (0.25,) * shape[0], dtype)  # type: ignore[arg-type]


def make_data(shape: tuple[int, ...], counts: list[int], seed: int = 0, dtype: str = "uint8") -> TensorData:
    """``counts`` samples of each class: a smooth pattern of the class's own, and noise."""
    generator = torch.Generator().manual_seed(seed)
    spec = make_spec(shape, len(counts), dtype)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    ramp = torch.linspace(0, 3, spec.elements)
    patterns = torch.stack([(ramp + c).sin() for c in range(len(counts))]) * 0.25 + 0.5
    values = patterns[labels] + 0.1 * torch.randn(len(labels), spec.elements, generator=generator)
    samples = values.clamp(0, 1).view(len(labels), *shape)
    return TensorData(spec, (samples * 255).to(torch.uint8) if dtype == "uint8" else samples, labels)


def tiny_recipe(name: str, **settings: Any) -> Recipe:
    """A recipe that takes milliseconds a step (and a few steps, where it takes any)."""
    recipe = recipes.get(name)
    if recipe.epitome is not None:
        settings = {"epitome": replace(recipe.epitome, **TINY_EPITOME), "ipc": 2, **settings}
    if recipe.teaching is not None:
        settings = {"teaching": TINY_TEACHING, **settings}
    if recipe.labeller is not None:
        settings = {"labeller": replace(recipe.labeller, steps=3, batch=8), **settings}
    settings = {"steps": 3 if recipe.steps else 0, "objective": _tiny(recipe.objective), **settings}
    return recipes.get(name, **settings)


def _tiny(objective: ObjectiveConfig) -> ObjectiveConfig:
    """The same objective on the smallest networks and batches."""
    match objective:
        case DistributionConfig():
            pool = objective.pool and PoolConfig(networks=2, stages=(0, 1), batch=8)
            return replace(objective, width=4, real_batch=4, frequencies=16, pool=pool)
        case GradientConfig():
            return replace(objective, width=4, real_batch=4, inner=1)
        case BilevelConfig():
            return replace(objective, width=4, real_batch=4, inner_steps=2)
        case RegressionConfig():
            students = StudentsConfig(networks=2, lifetime=4, steps=1, batch=8)
            return replace(objective, width=4, real_batch=4, students=students)
        case RecoveryConfig():
            return replace(objective, width=4, steps=2)
        case TrajectoryConfig():
            experts = ExpertConfig(experts=2, epochs=3, batch=8, width=4)
            return TrajectoryConfig(experts, synthetic_steps=2, expert_epochs=1)
        case _:
            return objective


def make_set(
    data: TensorData, per_class: int = 2, bits: int = 3, factor: int = 1, recipe: str = "random"
) -> DistilledSet:
    """The first ``per_class`` samples of each class, stored as asked."""
    index = [where[:per_class] for where in data.class_indices()]
    samples = data.batch(torch.cat(index)).samples
    stored = PixelParameterization.from_samples(samples, data.spec, PixelConfig(bits, factor))
    return DistilledSet(data.spec, stored, [len(where) for where in index], recipe)


def message_of(blob: bytes) -> pb.DistilledSet:
    """The message inside a blob."""
    message = pb.DistilledSet()
    message.ParseFromString(blob[14:])
    return message


def packed(body: bytes | pb.DistilledSet, version: int = 1, flags: int = 0) -> bytes:
    """A blob around ``body`` with the right length and checksum, whatever ``body`` says."""
    body = body if isinstance(body, bytes) else body.SerializeToString()
    start = struct.pack("<BBI", version, flags, len(body))
    return b"FBIT" + start + struct.pack("<I", zlib.crc32(body, zlib.crc32(start))) + body


def small_blob() -> bytes:
    """A valid blob of a described task: 2×3×4 images in 3 classes."""
    return encode(make_set(make_data((2, 3, 4), [2, 1, 2])))


def by_coder(number: int) -> Any:
    """Encode by one coder, whatever is the smallest."""
    return mock.patch("fedbits.parameterization.pixel.smallest_coder", lambda *_: (number, 0.0))
