"""Samples as float32 numbers: what the papers before QuADD store, as a baseline at its real size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedbits.coding import code_grid
from fedbits.data.spec import DataSpec
from fedbits.errors import ConfigError, CorruptError
from fedbits.parameterization.base import Parameterization, Part
from fedbits.wire import distilled_set_pb2 as pb

BITS = 32
RAW = 0  # the coder that spends eight bits on each byte


def byte_grid(spec: DataSpec) -> tuple[int, int, int]:
    """One sample's bytes as a grid of symbols of 256 levels."""
    channels, height, width = spec.grid_shape
    return channels, height, 4 * width


class FloatParameterization(Parameterization):
    """Float32 samples, byte for byte; there are no bits to trade, so budgets are met by their number."""

    bounded = shrinkable = False

    def __init__(self, spec: DataSpec, stored: Tensor) -> None:
        """``stored`` ``[n, *spec.shape]`` float32, normalised."""
        super().__init__()
        self.spec = spec
        self.stored = torch.nn.Parameter(stored)

    def __len__(self) -> int:
        return len(self.stored)

    def forward(self, index: Tensor | None = None) -> Tensor:
        stored = self.stored if index is None else self.stored[index]
        return stored if self.training else stored.detach()

    def rate(self, labels: Tensor) -> Tensor:
        return torch.tensor(float(BITS * self.stored.numel()))

    def encode(self, message: pb.DistilledSet, parts: Sequence[Part], quick: bool = False) -> None:
        if not bool(self.stored.isfinite().all()):
            raise ConfigError("a sample is not a finite number: the optimisation diverged")
        message.floats.SetInParent()
        values = self.stored.detach().cpu().numpy().astype("<f4")
        symbols = values.view(np.uint8).reshape(len(self), *byte_grid(self.spec)).astype(np.int64)
        ends = np.cumsum([len(labels) for labels, _ in parts])
        for grid, (_, coder) in zip(np.split(symbols, ends[:-1]), parts, strict=True):
            code_grid(coder, RAW, 256, (*grid.shape,), grid)

    @classmethod
    def decode(
        cls, message: pb.Floats, spec: DataSpec, samples: int, parts: Iterable[Part]
    ) -> FloatParameterization:
        """Read the ``samples`` of all ``parts``.

        Raises:
            CorruptError: a number is not finite.
        """
        stored, start = torch.empty(samples, *spec.shape), 0
        for labels, coder in parts:
            symbols = code_grid(coder, RAW, 256, (len(labels), *byte_grid(spec)))
            there = stored[start : start + len(labels)].view(len(labels), *spec.grid_shape)
            for channel, row in np.ndindex(*spec.grid_shape[:2]):  # less memory than all at once
                values = np.ascontiguousarray(symbols[:, channel, row]).view("<f4")
                if not np.isfinite(values).all():
                    raise CorruptError("a sample of the blob has a number that is not finite")
                there[:, channel, row] = torch.from_numpy(values.astype(np.float32))
            start += len(labels)
        return cls(spec, stored)

    def selected(self, index: Tensor) -> FloatParameterization:
        return FloatParameterization(self.spec, self.stored.detach()[index])

    def tightened(self, strength: float) -> FloatParameterization:
        return self.selected(torch.arange(len(self)))

    def joined(self, samples: Tensor, labels: Tensor, order: Tensor) -> FloatParameterization:
        stored = torch.cat([self.stored.detach(), samples.to(self.stored.device)])[order]
        return FloatParameterization(self.spec, stored)

    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": [self.stored], "lr": learning_rate}]

    def describe(self) -> dict[str, Any]:
        return {"parameterization": "floats", "bits": BITS, "factor": 1}
