"""Which real samples a step looks at: as many of every class."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def class_batches(
    classes: Iterable[Tensor], size: int, generator: torch.Generator, repeated: bool = True
) -> Tensor:
    """``size`` of the indices of each of ``classes``, class by class, drawn without replacement.

    A class that has fewer gives them all, again and again where ``repeated``; one that has none gives none.
    """
    drawn = []
    for index in classes:
        if not len(index):
            continue
        order = torch.randperm(len(index), generator=generator)
        if repeated:
            order = order.repeat(-(-size // len(index)))
        drawn.append(index[order[:size]])
    return torch.cat(drawn)
