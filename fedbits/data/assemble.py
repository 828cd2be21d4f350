"""From tensors as read to a :class:`DataSet`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedbits.data.holdout import TEST_FRACTION, TEST_SEED, split_indices
from fedbits.data.normalise import normalisation
from fedbits.data.spec import DataSpec
from fedbits.data.tensors import DataSet, TensorData


@dataclass(frozen=True)
class Part:
    """Samples ``[n, *shape]`` (uint8 or float32) and labels ``[n]`` (int64) of one part of a data set."""

    samples: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Facts:
    """What a loader knows of a data set beside its tensors.

    ``constants`` are the published mean and deviation; without them they come from the training part.
    """

    name: str
    classes: int
    class_names: tuple[str, ...] = ()
    constants: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def assemble(facts: Facts, train: Part, test: Part) -> DataSet:
    """A data set of two parts that are already checked against each other.

    Raises:
        DataError: the data cannot be normalised; see :func:`fedbits.data.normalise.normalisation`.
    """
    mean, std = facts.constants or normalisation(train.samples, facts.name)
    spec = DataSpec(
        name=facts.name,
        shape=tuple(train.samples.shape[1:]),
        classes=facts.classes,
        mean=mean,
        std=std,
        dtype="float32" if train.samples.is_floating_point() else "uint8",
        class_names=facts.class_names,
    )
    return DataSet(
        spec,
        TensorData(spec, train.samples, train.labels),
        TensorData(spec, test.samples, test.labels),
    )


def hold_out(whole: Part) -> tuple[Part, Part]:
    """Training and test part of a set that comes without one: a fixed, stratified fifth is for testing."""
    rest, held = split_indices(whole.labels, TEST_FRACTION, TEST_SEED)
    samples, labels = whole.samples, whole.labels
    return Part(samples[rest], labels[rest]), Part(samples[held], labels[held])
