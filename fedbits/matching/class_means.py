"""What classes are like on average."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """``[classes, d]`` of ``values`` ``[n, d]``; a class without samples has zeros."""
    membership = F.one_hot(labels, classes).to(values.dtype)
    return (membership / membership.sum(0).clamp(min=1)).T @ values
