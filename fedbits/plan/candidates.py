"""The real samples that a synthetic set may start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedbits.data.tensors import TensorData
from fedbits.errors import BudgetError

_USUAL = 10  # samples per class, as in most papers


@dataclass(frozen=True)
class Candidates:
    """Real samples a set may start from, best first within each class."""

    data: TensorData
    chosen: list[Tensor]  # of each class, places in ``data``
    seed: int = 0  # of whatever else a set starts from

    def counts(self, total: int) -> tuple[int, ...]:
        """``total`` samples, :func:`evenly` of all classes."""
        return evenly([len(index) for index in self.chosen], total)

    def each(self, ipc: int | None) -> tuple[int, ...]:
        """``ipc`` samples of each class (10 where it is None), or all that a class has."""
        return tuple(min(ipc or _USUAL, len(index)) for index in self.chosen)

    def samples(self, counts: tuple[int, ...]) -> Tensor:
        """The first ``counts`` samples of each class, normalised, class by class."""
        index = torch.cat([order[:count] for order, count in zip(self.chosen, counts, strict=True)])
        return self.data.batch(index.to(self.data.labels.device)).samples.cpu()

    @property
    def total(self) -> int:
        return sum(len(index) for index in self.chosen)

    @property
    def classes(self) -> int:
        """Classes that have samples."""
        return sum(len(index) > 0 for index in self.chosen)

    def too_small(self, budget: int, smallest: int, ipc: int | None = None) -> BudgetError:
        """The error that names the ``smallest`` budget that would do, for ``ipc`` samples of each class."""
        samples = "one sample" if ipc in (None, 1) else f"{ipc:,} samples"
        return BudgetError(
            f"budget of {budget:,} bytes is too small for {samples} of each of {self.classes} classes of "
            f"{self.data.spec.name}: the smallest that would do is {smallest:,} bytes"
        )


def evenly(available: Sequence[int], total: int) -> tuple[int, ...]:
    """``total`` samples spread evenly: every class gets one more in turn until it has no more."""
    most = torch.tensor(available)
    level = torch.zeros_like(most)
    left = min(total, int(most.sum()))
    while left > 0:
        open_classes = level < most
        share = max(1, left // int(open_classes.sum()))
        step = torch.minimum(most - level, torch.full_like(most, share)) * open_classes
        if int(step.sum()) > left:  # fewer than one each: the first classes get them
            step = step * (torch.cumsum(step, 0) <= left)
        level, left = level + step, left - int(step.sum())
    return tuple(level.tolist())
