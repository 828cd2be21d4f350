"""Several sets of one task as one set to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from fedbits.data.spec import DataSpec
from fedbits.data.tensors import Batch, Labelled, Lesson, concatenate


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

    @cached_property
    def targets(self) -> Tensor:
        """Classes, or probabilities if one of the sets has such."""
        every = [part.targets for part in self.sets]
        if all(targets.dim() == 1 for targets in every):
            return torch.cat(every)
        return torch.cat([_probabilities(targets, self.spec.classes) for targets in every])

    @property
    def learning_rate(self) -> float | None:
        """That of a single set; of several, none would suit all."""
        return self.sets[0].learning_rate if len(self.sets) == 1 else None

    def __len__(self) -> int:
        return sum(len(part) for part in self.sets)

    def batch(self, index: Tensor | None = None) -> Batch:
        samples, labels = self._all
        return Batch(samples, labels) if index is None else Batch(samples[index], labels[index])

    def lesson(self, index: Tensor, epoch: int, device: torch.device | str = "cpu") -> Lesson:
        """Of each set its own; classes become probabilities where any set has such."""
        starts = torch.tensor([0, *accumulate(len(part) for part in self.sets)])
        places, lessons = [], []
        for part, first, last in zip(self.sets, starts[:-1], starts[1:], strict=True):
            here = torch.nonzero((index >= first) & (index < last)).flatten()
            if len(here):
                places.append(here)
                lessons.append(part.lesson(index[here] - first, epoch, device).to(device))
        if any(lesson.targets.dim() == 2 for lesson in lessons):
            lessons = [
                lesson._replace(targets=_probabilities(lesson.targets, self.spec.classes))
                for lesson in lessons
            ]
        order = torch.cat(places).argsort()
        return Lesson(*(torch.cat(parts)[order] for parts in zip(*lessons, strict=True)))

    @cached_property
    def _all(self) -> Batch:
        return concatenate(list(self.sets))


def _probabilities(targets: Tensor, classes: int) -> Tensor:
    return targets if targets.dim() == 2 else torch.nn.functional.one_hot(targets, classes).float()
