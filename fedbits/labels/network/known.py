"""Of how many real samples of each class a network was made: a byte for each class, or one for all.

It says whose word counts where several networks are asked: a class that a network never saw it cannot name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_STEPS = 4  # bytes' values to a doubling: numbers are told to within a tenth, and nearly equal ones as equal


def told(counts: Sequence[int]) -> bytes:
    """What travels of the samples of each class: one byte where that is the same for all."""
    levels = bytes(min(255, round(_STEPS * math.log2(1 + count))) for count in counts)
    return levels[:1] if len(set(levels)) == 1 else levels


def counted(known: bytes, classes: int) -> Tensor:
    """About how many samples of each class there were, ``[classes]`` float32; as many of all if not told."""
    if not known:
        return torch.ones(classes)
    levels = torch.tensor(list(known), dtype=torch.float32).expand(classes)
    return torch.exp2(levels / _STEPS) - 1


def is_told(known: bytes, classes: int) -> bool:
    """Whether ``known`` is what may travel for so many classes: nothing, one byte, or one for each."""
    return len(known) in (0, 1, classes)
