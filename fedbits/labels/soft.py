"""Learned soft labels (DATM, Guo et al., ICLR 2024): logits that travel with the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedbits.errors import CorruptError
from fedbits.quantization.base import half_straight_through
from fedbits.quantization.grid import half

_CERTAIN = 8.0  # logit of its class that a sample gets whose label was not learned


class SoftLabels(nn.Module):
    """One logit for each sample and class, trained as the float16 numbers that travel."""

    def __init__(self, logits: Tensor) -> None:
        """``logits`` ``[n, classes]``."""
        super().__init__()
        self.logits = nn.Parameter(logits.detach().float().clone())

    @classmethod
    def certain(cls, labels: Tensor, classes: int) -> SoftLabels:
        """Hardly soft ones for samples of the classes ``labels`` ``[n]``."""
        return cls(_CERTAIN * nn.functional.one_hot(labels, classes).float())

    def __len__(self) -> int:
        return len(self.logits)

    def forward(self, index: Tensor | None = None) -> Tensor:
        """Probabilities ``[n, classes]`` (all or at ``index``), of the logits that a receiver has."""
        logits = self.logits if index is None else self.logits[index]
        return half_straight_through(logits).softmax(dim=1)

    def selected(self, index: Tensor) -> SoftLabels:
        return SoftLabels(self.logits[index])

    def joined(self, added: SoftLabels, order: Tensor) -> SoftLabels:
        """A copy with ``added`` appended, all put in ``order`` (a permutation)."""
        return SoftLabels(torch.cat([self.logits, added.logits])[order])

    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": [self.logits], "lr": learning_rate}]

    def to_bytes(self) -> bytes:
        """float16, little-endian, the classes of one sample after the other."""
        return half(self.logits).cpu().numpy().astype("<f2").tobytes()

    @classmethod
    def from_bytes(cls, stored: bytes, samples: int, classes: int) -> SoftLabels:
        """The inverse of :meth:`to_bytes`.

        Raises:
            CorruptError: not one finite number for each sample and class.
        """
        if len(stored) != 2 * samples * classes:
            raise CorruptError(
                f"{len(stored):,} bytes of soft labels do not fit {samples:,} samples of {classes:,} classes"
            )
        logits = np.frombuffer(stored, dtype="<f2").reshape(samples, classes)
        if not np.isfinite(logits).all():
            raise CorruptError("a soft label of the blob is not finite")
        return cls(torch.from_numpy(logits.astype(np.float32)))
