"""What every parameterisation owes the rest."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedbits.coding import SymbolCoder
from fedbits.data.spec import DataSpec
from fedbits.quantization import Moment
from fedbits.wire import distilled_set_pb2 as pb

Part = tuple[
    Tensor, SymbolCoder
]  # the classes of consecutive samples, ascending, and the coder of their stream


@dataclass(frozen=True)
class StorageConfig:
    """Settings of a parameterisation; each has a class of its own."""


class Parameterization(nn.Module, ABC):
    """A trainable store of ``len(self)`` samples.

    In training mode samples carry gradients to what is stored; in evaluation mode they are exactly those
    that a receiver decodes.
    """

    bounded = True  # whether training can trade its bits, by :meth:`rate`
    shrinkable = True  # whether :meth:`tightened` takes fewer bits
    # Of the bytes of codes, the share that tightening takes without harm; samples had better go before more.
    most_tightened = math.inf
    own_parts: tuple[str, ...] = ("samples",)  # of the ledger, those that come and go with samples
    shared_parts: tuple[str, ...] = ()  # of the ledger, those that all samples share
    leaner = "bits (--bits)"  # what a person can have fewer of, besides samples, for fewer bytes

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def forward(self, index: Tensor | None = None) -> Tensor:
        """Normalised samples ``[n, *sample_shape]`` as the receiver sees them (all or at ``index``)."""

    @abstractmethod
    def rate(self, labels: Tensor) -> Tensor:
        """Bits of all that is stored, differentiable; within 1 % of what :meth:`encode` spends.

        ``labels`` ``[n]`` are the classes of the samples, ascending: samples of a class resemble each other.
        """

    def begin(self, moment: Moment) -> None:
        """Get ready for a training step."""

    def settle(self) -> None:
        """Training is over: fix what is to be fitted to its result."""

    def penalty(self) -> Tensor:
        """Squared distance between what is trained and what is sent (BCDC §3.2), summed over all numbers."""
        return torch.zeros(())

    @abstractmethod
    def encode(self, message: pb.DistilledSet, parts: Sequence[Part], quick: bool = False) -> None:
        """Fill this parameterisation's part of ``message`` and spend its symbols, part by part.

        ``quick`` spends less time and more bits.
        """

    @classmethod
    @abstractmethod
    def decode(cls, message: Any, spec: DataSpec, samples: int, parts: Iterable[Part]) -> Parameterization:
        """What :meth:`encode` wrote: this parameterisation's part of a message, and the streams of ``parts``.

        Raises:
            FormatError: nothing that can be decoded.
        """

    @abstractmethod
    def selected(self, index: Tensor) -> Parameterization:
        """A copy of the samples at ``index`` only."""

    @abstractmethod
    def tightened(self, strength: float) -> Parameterization:
        """A copy in fewer bits: squared distance in steps is traded for bits at ``strength`` ≥ 0."""

    @abstractmethod
    def joined(self, samples: Tensor, labels: Tensor, order: Tensor) -> Parameterization:
        """A copy with normalised ``samples`` of classes ``labels`` appended, all put in ``order``.

        ``order`` is a permutation after which classes ascend.
        """

    def degraded(self, samples: Tensor) -> Tensor:
        """Other normalised ``samples`` as a receiver would have them, were they stored as these are.

        Where that takes fitting, they are left as they are.
        """
        return samples

    @abstractmethod
    def param_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameters by part, each with its own multiple of ``learning_rate``, for an optimiser."""

    def allocation(self) -> Tensor | None:
        """How many numbers each place of each sample takes, ``[n, rows, columns]`` int64.

        None where all take the same.
        """
        return None

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON-able facts for people."""
