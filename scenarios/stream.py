"""A data set as a stream of experiences, each with classes of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fedbits.data import DataSet, TensorData
from fedbits.errors import ConfigError

PREFIX = "split_"
USUAL = 5  # experiences, where a scenario's name says nothing else
# What the literature calls by a name of its own: the data set and the experiences.
_TASKS = {"cifar100": 10}


@dataclass(frozen=True)
class Scenario:
    """``data`` is a data set as :func:`fedbits.data.load` knows it; its classes arrive in equal shares."""

    name: str
    data: str
    experiences: int


def scenario(name: str, experiences: int | None = None) -> Scenario:
    """The scenario ``split_DATA``, in so many experiences (5, of CIFAR-100 10, when left out).

    Raises:
        ConfigError: not a scenario's name, or no experience.
    """
    data = name.removeprefix(PREFIX)
    if data == name or not data:
        raise ConfigError(
            f"unknown scenario {name!r}: expected {PREFIX}DATA, such as split_digits, split_fashion_mnist, "
            f"split_cifar10 or split_cifar100"
        )
    if experiences is None:
        experiences = _TASKS.get(data, USUAL)
    if experiences < 1:
        raise ConfigError(f"{experiences} experiences are none: give 1 or more")
    return Scenario(name, data, experiences)


def class_order(classes: int, seed: int) -> list[int]:
    """The order in which classes arrive, as in DM's protocol.

    The same numbers as ``np.random.seed(seed); np.random.permutation(classes)``, without the global state.
    """
    return np.random.RandomState(seed).permutation(classes).tolist()


@dataclass(frozen=True)
class Stream:
    """``data`` whose classes arrive in ``order``, as many in each of ``experiences``."""

    data: DataSet
    order: tuple[int, ...]
    experiences: int

    @classmethod
    def of(cls, data: DataSet, experiences: int, seed: int) -> Stream:
        """The stream with the class order of ``seed``.

        Raises:
            ConfigError: the classes cannot be shared equally.
        """
        classes = data.spec.classes
        if classes % experiences:
            raise ConfigError(
                f"{classes} classes of {data.spec.name} cannot be shared equally by {experiences} experiences"
            )
        return cls(data, tuple(class_order(classes, seed)), experiences)

    @property
    def each(self) -> int:
        """Classes of an experience."""
        return len(self.order) // self.experiences

    def classes(self, experience: int) -> tuple[int, ...]:
        """The classes that ``experience`` (0 ..) brings, as they are ordered."""
        return self.order[experience * self.each : (experience + 1) * self.each]

    def train(self, experience: int) -> TensorData:
        return self.data.train.subset(self._places[0][experience])

    def test(self, experience: int) -> TensorData:
        """Test samples of the classes of this one experience."""
        return self.data.test.subset(self._places[1][experience])

    @cached_property
    def _places(self) -> tuple[list[Tensor], list[Tensor]]:
        found = []
        for part in (self.data.train, self.data.test):
            wanted = (torch.tensor(self.classes(k)) for k in range(self.experiences))
            found.append([torch.nonzero(torch.isin(part.labels.cpu(), one)).flatten() for one in wanted])
        return found[0], found[1]
