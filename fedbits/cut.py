"""Fewer samples of a set, without optimising it again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fedbits.container import encode
from fedbits.distilled_set import DistilledSet
from fedbits.plan import evenly, largest_within


def selected(distilled: DistilledSet, index: Tensor, counts: Sequence[int]) -> DistilledSet:
    """The samples at ``index``, in that order, of which ``counts`` are of each class; classes ascend.

    Labels of views belong to a whole set, as views may be mixed with any sample of it: they are left out. (A
    network labels whatever views there are, and stays.)
    """
    soft = distilled.soft_labels
    return DistilledSet(
        distilled.spec,
        distilled.parameterization.selected(index),
        list(counts),
        distilled.recipe,
        None if soft is None else soft.selected(index),
        distilled.learning_rate,
        network=distilled.network,
    )


def first(distilled: DistilledSet, counts: Sequence[int]) -> DistilledSet:
    """The first ``counts`` samples of each class."""
    classes = torch.arange(len(distilled)).split(distilled.class_counts())
    index = torch.cat([places[:count] for places, count in zip(classes, counts, strict=True)])
    return selected(distilled, index, counts)


def within(distilled: DistilledSet, most: float) -> DistilledSet:
    """As many samples of the set as take at most ``most`` bytes; one of each class at least.

    Those of the largest classes go first, the last of a class before the others.
    """
    if most == math.inf or len(encode(distilled)) <= most:
        return distilled
    have = distilled.class_counts()

    def with_total(total: int) -> DistilledSet:
        return first(distilled, evenly(have, total))

    def size(total: int) -> int:
        return len(encode(with_total(total)))

    least = sum(count > 0 for count in have)
    return with_total(largest_within(size, least, len(distilled), int(most)))
