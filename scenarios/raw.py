"""Raw samples counted in bytes: what every compressed memory is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from fedbits.data import DataSpec, TensorData
from fedbits.errors import BudgetError
from fedbits.progress import SILENT, Progress
from fedbits.rng import torch_stream
from scenarios.memory import Teacher

_ITEM = {"uint8": 1, "float32": 4}
_LOGIT_BYTES = 4  # float32, as Avalanche's DER stores them


def sample_bytes(spec: DataSpec, logits: bool = False) -> int:
    """Bytes of one raw sample, as the data itself is stored; its class is not counted."""
    return spec.elements * _ITEM[spec.dtype] + (_LOGIT_BYTES * spec.classes if logits else 0)


def raw_samples(capacity: int, spec: DataSpec, logits: bool = False) -> int:
    """How many raw samples ``capacity`` bytes hold.

    Raises:
        BudgetError: none.
    """
    each = sample_bytes(spec, logits)
    if capacity < each:
        raise BudgetError(
            f"a memory of {capacity:,} bytes is too small for a raw sample of {spec.name}: the smallest that "
            f"would do is {each:,} bytes"
        )
    return capacity // each


@dataclass
class RawMemory:
    """Random real samples as they are, equally many of every class seen, in at most ``capacity`` bytes.

    Attributes:
        quotas: classes that will come, each with its quota from the start; None: those seen share all.
    """

    spec: DataSpec
    capacity: int
    quotas: int | None = None
    held: dict[int, torch.Tensor] = field(default_factory=dict)  # samples of each class, in random order

    @property
    def size(self) -> int:
        return len(self) * sample_bytes(self.spec)

    def __len__(self) -> int:
        return sum(len(samples) for samples in self.held.values())

    def add(
        self, data: TensorData, seed: int, teacher: Teacher | None = None, progress: Progress = SILENT
    ) -> None:
        """Remember random samples of ``data``, whose classes are new.

        Raises:
            BudgetError: not one sample of each class fits.
        """
        for label, index in enumerate(data.class_indices()):
            if len(index):
                order = torch.randperm(len(index), generator=torch_stream(seed, "raw", label))
                self.held[label] = data.samples[index[order].to(data.samples.device)].cpu()
        classes = self.quotas or len(self.held)
        total = raw_samples(self.capacity, self.spec)
        if total < classes:
            raise BudgetError(
                f"a memory of {self.capacity:,} bytes is too small for a raw sample of each of {classes} "
                f"classes: the smallest that would do is {classes * sample_bytes(self.spec):,} bytes"
            )
        # What does not divide goes to the first classes.
        for place, label in enumerate(self.held):
            most = total // classes + (self.quotas is None and place < total % classes)
            self.held[label] = self.held[label][:most].clone()

    def union(self, spec: DataSpec) -> TensorData:
        """All samples as one set to train on, classes ascending."""
        labels = sorted(self.held)
        counts = torch.tensor([len(self.held[label]) for label in labels])
        samples = torch.cat([self.held[label] for label in labels])
        return TensorData(spec, samples, torch.tensor(labels).repeat_interleave(counts))

    def state(self) -> dict[str, Any]:
        return {"held": dict(self.held)}

    def restore(self, state: dict[str, Any]) -> None:
        self.held = dict(state["held"])
