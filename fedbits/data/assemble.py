"""From tensors as read to a :class:`DataSet`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedbits.data.holdout import TEST_FRACTION, TEST_SEED, split_indices
from fedbits.data.known import KNOWN
from fedbits.data.normalise import normalisation
from fedbits.data.spec import DataSpec
from fedbits.data.tensors import DataSet, TensorData
from fedbits.errors import DataError


@dataclass(frozen=True)
class Part:
    """Samples ``[n, *shape]`` (uint8 or float32) and labels ``[n]`` (int64) of one part of a data set."""

    samples: Tensor
    labels: Tensor


def published(name: str) -> DataSpec:
    """The spec of a public data set, with its published normalisation."""
    return next(spec for spec in KNOWN.values() if spec.name == name)


def own(name: str, classes: int, train: Part, class_names: tuple[str, ...] = ()) -> DataSpec:
    """The spec of a user's own data set, normalised by its training part.

    Raises:
        DataError: the data cannot be normalised; see :func:`fedbits.data.normalise.normalisation`.
    """
    mean, std = normalisation(train.samples, name)
    return DataSpec(
        name=name,
        shape=tuple(train.samples.shape[1:]),
        classes=classes,
        mean=mean,
        std=std,
        dtype="float32" if train.samples.is_floating_point() else "uint8",
        class_names=class_names,
    )


def assemble(spec: DataSpec, train: Part, test: Part) -> DataSet:
    """A data set of two parts that are already checked against each other."""
    return DataSet(
        spec,
        TensorData(spec, train.samples, train.labels),
        TensorData(spec, test.samples, test.labels),
    )


def hold_out(whole: Part, source: str) -> tuple[Part, Part]:
    """Training and test part of a set that comes without one: a fixed, stratified fifth is for testing.

    Raises:
        DataError: no class of ``source`` has two samples.
    """
    rest, held = split_indices(whole.labels, TEST_FRACTION, TEST_SEED)
    if not len(held):
        raise DataError(f"{source} has no class of two or more samples: nothing can be held out for testing")
    samples, labels = whole.samples, whole.labels
    return Part(samples[rest], labels[rest]), Part(samples[held], labels[held])
