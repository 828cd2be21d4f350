"""Samples as Avalanche's data sets, and back.

Avalanche is frozen at one release, so that its underscored functions may be used: they are what its own
strategies use.
"""

from __future__ import annotations

from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset, make_avalanche_dataset
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
from avalanche.benchmarks.utils.data_attribute import TensorDataAttribute
from avalanche.benchmarks.utils.flat_data import FlatData
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fedbits.data import DataSpec, TensorData

_BATCH = 256
LOGITS = "logits"  # what Avalanche's DER calls the attribute


class StoredSamples(Dataset[tuple[Tensor, int]]):
    """Real samples, normalised one by one as they are asked for; they stay uint8 where they are."""

    def __init__(self, data: TensorData) -> None:
        self.data = data
        self.targets: list[int] = data.labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.data.spec.normalise(self.data.samples[index : index + 1])[0], self.targets[index]


def as_dataset(samples: Dataset[Any], targets: list[int], logits: Tensor | None = None) -> AvalancheDataset:
    """A data set of (sample, class, task 0), and of logits ``[n, classes]`` where there are such."""
    data = _make_taskaware_classification_dataset(samples, task_labels=0, targets=targets)
    if logits is None:
        return data
    rows = FlatData([list(logits)], discard_elements_not_in_indices=True)
    attribute = TensorDataAttribute(rows, name=LOGITS, use_in_getitem=True)
    return make_avalanche_dataset(data, data_attributes=[attribute])


def as_samples(dataset: AvalancheDataset, spec: DataSpec) -> tuple[TensorData, Tensor | None]:
    """The samples of a data set that ``spec`` has normalised, as stored; and logits, if it has such."""
    parts, labels, logits = [], [], []
    for samples, classes, _, *rest in DataLoader(dataset.eval(), batch_size=_BATCH):
        parts.append(spec.denormalise(samples))
        labels.append(classes.long())
        logits += rest
    if not parts:
        none = torch.empty(0, *spec.shape, dtype=getattr(torch, spec.dtype))
        return TensorData(spec, none, torch.empty(0, dtype=torch.long)), None
    data = TensorData(spec, torch.cat(parts), torch.cat(labels))
    return data, torch.cat(logits) if logits else None
