"""Labelled samples in memory: what is distilled, trained on and tested with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from fedbits.data.spec import DataSpec


class Batch(NamedTuple):
    """Normalised float32 samples ``[n, *shape]`` and their int64 labels ``[n]``."""

    samples: Tensor
    labels: Tensor


class Lesson(NamedTuple):
    """What a network is taught by one batch.

    Attributes:
        samples: ``[b, *shape]``, normalised.
        targets: classes ``[b]`` int64, or probabilities ``[b, classes]`` float32.
        viewed: ``[b]`` bool, which samples are views that must not be augmented again.
        temperature: ``[b]``, by which logits are divided before their softmax is held against targets.

    The last two decide what is done: they stay on the CPU, where a look at them waits for no GPU.
    """

    samples: Tensor
    targets: Tensor
    viewed: Tensor
    temperature: Tensor

    @classmethod
    def plain(cls, samples: Tensor, targets: Tensor) -> Lesson:
        """Samples as they are."""
        return cls(samples, targets, torch.zeros(len(samples), dtype=torch.bool), torch.ones(len(samples)))

    def to(self, device: torch.device | str) -> Lesson:
        return self._replace(samples=self.samples.to(device), targets=self.targets.to(device))


class Labelled(Protocol):
    """What training and testing ask of a set, real or distilled."""

    @property
    def spec(self) -> DataSpec: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def targets(self) -> Tensor:
        """What a network learns: classes ``[n]`` int64, or probabilities ``[n, classes]`` float32."""
        ...

    @property
    def learning_rate(self) -> float | None:
        """The learning rate that came with the set, if one did."""
        ...

    def __len__(self) -> int: ...

    def batch(self, index: Tensor | None = None) -> Batch:
        """The samples at ``index`` (all when left out), normalised."""
        ...

    def lesson(self, index: Tensor, epoch: int, device: torch.device | str = "cpu") -> Lesson:
        """What a network learns in ``epoch`` of the samples ``index`` ``[b]``.

        ``device`` is where it learns: what takes work to make is made there, anything else stays where it is.
        """
        ...


@dataclass(frozen=True)
class TensorData:
    """Real samples as stored: ``samples`` ``[n, *spec.shape]`` uint8 or float32, ``labels`` ``[n]`` int64.

    ``sites`` ``[n]`` int64 says where each comes from, numbered from 0, if the data set tells.
    """

    spec: DataSpec
    samples: Tensor
    labels: Tensor
    sites: Tensor | None = None
    learning_rate: ClassVar[None] = None

    @property
    def targets(self) -> Tensor:
        return self.labels

    def __post_init__(self) -> None:
        if tuple(self.samples.shape[1:]) != self.spec.shape or len(self.samples) != len(self.labels):
            raise ValueError(
                f"samples {tuple(self.samples.shape)} and {len(self.labels)} labels do not fit "
                f"{self.spec.shape}"
            )
        if self.sites is not None and len(self.sites) != len(self.labels):
            raise ValueError(f"{len(self.labels)} samples, but {len(self.sites)} sites")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | None = None) -> Batch:
        if index is None:
            return Batch(self.spec.normalise(self.samples), self.labels)
        return Batch(self.spec.normalise(self.samples[index]), self.labels[index])

    def lesson(self, index: Tensor, epoch: int, device: torch.device | str = "cpu") -> Lesson:
        return Lesson.plain(*self.batch(index))

    def subset(self, index: Tensor) -> TensorData:
        sites = None if self.sites is None else self.sites[index]
        return TensorData(self.spec, self.samples[index], self.labels[index], sites)

    def to(self, device: torch.device | str) -> TensorData:
        sites = None if self.sites is None else self.sites.to(device)
        return TensorData(self.spec, self.samples.to(device), self.labels.to(device), sites)

    def class_counts(self) -> list[int]:
        """Samples of each class, ``spec.classes`` numbers."""
        return torch.bincount(self.labels, minlength=self.spec.classes).tolist()

    def class_indices(self) -> list[Tensor]:
        """Where the samples of each class are, in order."""
        return [torch.nonzero(self.labels == c).flatten() for c in range(self.spec.classes)]


@dataclass(frozen=True)
class DataSet:
    """A data set as loaded: training and test samples of one spec."""

    spec: DataSpec
    train: TensorData
    test: TensorData


def concatenate(sets: list[Labelled]) -> Batch:
    """All samples of several sets of one task, in order."""
    batches = [s.batch() for s in sets]
    return Batch(torch.cat([b.samples for b in batches]), torch.cat([b.labels for b in batches]))
