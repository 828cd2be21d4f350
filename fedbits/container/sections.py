"""What a message says besides its samples: classes, recipe, labels, and where the streams are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import accumulate

import torch

from fedbits.coding import RangeReader
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, CorruptError
from fedbits.labels import SoftLabels
from fedbits.labels.network.stored import DeclaredNetwork
from fedbits.labels.stored import DeclaredLabels
from fedbits.parameterization.base import Part
from fedbits.task_message import read_task
from fedbits.wire import distilled_set_pb2 as pb

# Numbers are part of the wire format; any other recipe travels by its name.
RECIPE_NUMBERS = {1: "quadd", 2: "ptq", 3: "random", 4: "herding"}


def read_counts(message: pb.DistilledSet) -> list[int]:
    """Samples of each class; raises :class:`CorruptError` where there are none, or they do not fit."""
    classes, given = read_task(message).classes, len(message.class_counts)
    if is_alone(message):
        if given:
            raise CorruptError("the blob counts samples of classes, but stores none")
        return [0] * classes
    if given not in (1, classes):  # before a list of them takes more memory than the blob
        raise CorruptError(f"the blob declares {given:,} class counts for {classes:,} classes")
    counts = list(message.class_counts) * (classes if given == 1 else 1)
    if sum(counts) == 0:
        raise CorruptError(f"the blob declares no sample of any of its {classes:,} classes")
    return counts


def is_alone(message: pb.DistilledSet) -> bool:
    """Whether a network is all that there is."""
    return message.HasField("network_labels") and message.WhichOneof("parameterization") is None


def only(counts: list[int], classes: Collection[int]) -> list[int]:
    """``counts`` with zeros for all classes but ``classes``."""
    chosen = set(classes)
    unknown = sorted(chosen - set(range(len(counts))))
    if unknown:
        raise ConfigError(f"there is no class {unknown[0]}: the set has classes 0 to {len(counts) - 1}")
    wanted = [count if label in chosen else 0 for label, count in enumerate(counts)]
    if not any(wanted):
        raise ConfigError(f"the set has no samples of class {' or '.join(map(str, sorted(chosen)))}")
    return wanted


def places(counts: list[int], wanted: list[int]) -> torch.Tensor:
    """Which of all samples are of a class that is ``wanted``."""
    return (torch.tensor(wanted) > 0).repeat_interleave(torch.tensor(counts))


def labels_of(first: int, counts: list[int]) -> torch.Tensor:
    """``counts`` samples each of the class ``first`` and those after it."""
    return torch.arange(first, first + len(counts)).repeat_interleave(torch.tensor(counts))


def read_parts(message: pb.DistilledSet, counts: list[int], wanted: list[int]) -> Iterator[Part]:
    """Classes and coder of each stream of which samples are ``wanted``."""
    stream, given = message.stream, len(message.class_lengths)
    if is_alone(message):
        return iter([])
    if not given:
        return iter([(labels_of(0, counts), RangeReader(stream))])
    present = [label for label, count in enumerate(counts) if count]
    # Before a list of them takes more memory than the blob.
    ends = list(accumulate(message.class_lengths)) if given + 1 == len(present) else [len(stream) + 1]
    if ends[-1] > len(stream):
        raise CorruptError(f"the blob's {given + 1:,} streams do not fit its classes or its bytes")
    bounds = zip(present, [0, *ends], [*ends, len(stream)], strict=True)
    return (
        (labels_of(label, [counts[label]]), RangeReader(stream[start:stop]))
        for label, start, stop in bounds
        if wanted[label]
    )


def write_recipe(message: pb.DistilledSet, recipe: str) -> None:
    """The name of a recipe, or its number where it has one."""
    for number, name in RECIPE_NUMBERS.items():
        if name == recipe:
            message.recipe_number = number
            return
    message.recipe_name = recipe


def read_recipe(message: pb.DistilledSet) -> str:
    """The name that :func:`write_recipe` was given."""
    if message.WhichOneof("recipe") == "recipe_number":
        return RECIPE_NUMBERS.get(message.recipe_number, f"recipe {message.recipe_number}")
    return message.recipe_name


def read_learning_rate(message: pb.DistilledSet) -> float | None:
    """The rate that was learned with the samples; None where there was none."""
    rate = message.learning_rate
    if not (math.isfinite(rate) and rate >= 0):
        raise CorruptError(f"the blob declares a learning rate of {rate}: expected a positive number")
    return rate or None


def read_soft_labels(
    message: pb.DistilledSet, spec: DataSpec, counts: list[int], wanted: list[int]
) -> SoftLabels | None:
    """Soft labels of the samples of the classes that are ``wanted``."""
    if not message.HasField("soft_labels"):
        return None
    every = SoftLabels.from_bytes(message.soft_labels.logits, sum(counts), spec.classes)
    return every if wanted is counts else every.selected(places(counts, wanted))


def declared_labels(
    message: pb.DistilledSet, spec: DataSpec, counts: list[int], wanted: list[int]
) -> DeclaredLabels | None:
    """Labels of views, if there are any to be read; they are checked in any case.

    Where some samples are not wanted they are not read, as views of others may be mixed with them.
    """
    if not message.HasField("view_labels"):
        return None
    if message.HasField("soft_labels"):
        raise CorruptError("the blob has both labels of samples and labels of their views")
    labels = DeclaredLabels(message.view_labels, sum(counts), spec.classes)
    labels.check()
    return labels if wanted is counts else None


def declared_network(message: pb.DistilledSet, spec: DataSpec) -> DeclaredNetwork | None:
    """The network that labels views, if there is one; it is checked."""
    if not message.HasField("network_labels"):
        return None
    if message.HasField("soft_labels") or message.HasField("view_labels"):
        raise CorruptError("the blob has both labels and a network that labels")
    network = DeclaredNetwork(message.network_labels, spec)
    network.check()
    return network
