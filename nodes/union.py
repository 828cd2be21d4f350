"""Several sets of one task as one set to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fedbits.data import Batch, DataSpec, Labelled, concatenate


@dataclass(frozen=True)
class Union:
    """All samples of ``sets``, in order; has what :class:`fedbits.data.Labelled` asks for.

    ``spec`` is the receiver's own description of the task, which every set must fit.
    """

    spec: DataSpec
    sets: Sequence[Labelled]

    @cached_property
    def labels(self) -> Tensor:
        return torch.cat([part.labels for part in self.sets])

    def __len__(self) -> int:
        return sum(len(part) for part in self.sets)

    def batch(self, index: Tensor | None = None) -> Batch:
        samples, labels = self._all
        return Batch(samples, labels) if index is None else Batch(samples[index], labels[index])

    @cached_property
    def _all(self) -> Batch:
        return concatenate(list(self.sets))
