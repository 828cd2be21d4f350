"""What every objective owes the distiller."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from fedbits.data.tensors import Batch, TensorData
from fedbits.progress import Progress


class Objective(Protocol):
    """A differentiable loss of synthetic samples against real ones, however they are stored."""

    def prepare(self, data: TensorData, progress: Progress) -> None:
        """Build once what the loss needs (networks, experts); deterministic in the run's seed."""
        ...

    def real_indices(self, step: int) -> Tensor:
        """Which real samples the loss of ``step`` looks at."""
        ...

    def loss(self, real: Batch, synthetic: Batch, step: int) -> Tensor:
        """A scalar; only ``synthetic.samples`` receives gradients."""
        ...
