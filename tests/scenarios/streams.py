"""Small streams and memories for the tests of scenarios."""

from __future__ import annotations

import torch
from making import make_data, tiny_recipe

from fedbits.data import DataSet, TensorData
from scenarios.memory import MemoryConfig
from scenarios.stream import Stream

SHAPE, CLASSES = (1, 6, 6), 4


def data_set(per_class: int = 30) -> DataSet:
    """Four classes that are easily told apart."""
    train = make_data(SHAPE, [per_class] * CLASSES)
    return DataSet(train.spec, train, make_data(SHAPE, [20] * CLASSES, seed=1))


def stream(experiences: int = 2, seed: int = 0) -> Stream:
    return Stream.of(data_set(), experiences, seed)


def of_classes(data: TensorData, *classes: int) -> TensorData:
    return data.subset(torch.nonzero(torch.isin(data.labels, torch.tensor(classes))).flatten())


def config(
    capacity: int = 600, policy: str = "fixed", recipe: str = "random", **settings: object
) -> MemoryConfig:
    """A memory of real samples at two bits; with the fixed policy, a quota for each class."""
    settings = {"bits": 2, "factor": 1, **settings}
    quotas = CLASSES if policy == "fixed" else None
    return MemoryConfig(capacity, tiny_recipe(recipe, **settings), policy, quotas)  # type: ignore[arg-type]
