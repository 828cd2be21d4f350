"""No samples at all: of a blob that holds a network alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from fedbits.data.spec import DataSpec
from fedbits.parameterization.base import Parameterization, Part
from fedbits.wire import distilled_set_pb2 as pb


class NoSamples(Parameterization):
    """A store of nothing; nothing can be added to it."""

    bounded = shrinkable = False
    own_parts = ()

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.spec = spec

    def __len__(self) -> int:
        return 0

    def forward(self, index: Tensor | None = None) -> Tensor:
        return torch.zeros(0, *self.spec.shape)

    def rate(self, labels: Tensor) -> Tensor:
        return torch.zeros(())

    def encode(self, message: pb.DistilledSet, parts: Sequence[Part], quick: bool = False) -> None:
        """A message without a parameterisation stands for no samples."""

    @classmethod
    def decode(cls, message: Any, spec: DataSpec, samples: int, parts: Iterable[Part]) -> NoSamples:
        return cls(spec)

    def selected(self, index: Tensor) -> NoSamples:
        return self

    def tightened(self, strength: float) -> NoSamples:
        return self

    def joined(self, samples: Tensor, labels: Tensor, order: Tensor) -> NoSamples:
        raise ValueError("a network alone has no samples to add others to")

    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return []

    def describe(self) -> dict[str, Any]:
        return {"parameterization": "none"}
