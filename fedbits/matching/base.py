"""What every objective owes the distiller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fedbits.data.tensors import Batch, TensorData
from fedbits.errors import ConfigError
from fedbits.progress import Progress


class Synthetic(NamedTuple):
    """Synthetic samples of one step, all or an equal share of each class.

    ``samples`` ``[n, *shape]`` normalised; ``labels`` ``[n]`` int64, their classes, ascending; ``targets``
    what networks learn for them: the same classes, or probabilities ``[n, classes]``.
    """

    samples: Tensor
    labels: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Setting:
    """What every objective is given: its run's seed, device and number of steps.

    Attributes:
        extractor: the network whose features are matched, instead of the objective's own; None for those.
        teacher: the network that an objective with a teacher learns from; None for one of its own.
    """

    seed: int
    device: torch.device
    steps: int = 1
    extractor: nn.Module | None = None
    teacher: nn.Module | None = None


@dataclass(frozen=True)
class ObjectiveConfig:
    """Settings of an objective; each has a class of its own."""


class Objective(ABC):
    """A differentiable loss of synthetic samples against real ones, however they are stored."""

    @abstractmethod
    def prepare(self, data: TensorData, progress: Progress) -> None:
        """Build once what the loss needs (networks, experts); deterministic in the run's seed."""

    def real_indices(self, step: int) -> Tensor | None:
        """Which real samples the loss of ``step`` looks at; None where it needs none."""
        return None

    @abstractmethod
    def loss(self, real: Batch | None, synthetic: Synthetic, step: int) -> Tensor:
        """A scalar; gradients go to ``synthetic`` and to what the objective itself learns.

        Without a graph where the step is to be skipped: nothing moves then.
        """

    def teach(self, samples: Tensor) -> Tensor:
        """Logits ``[n, classes]`` that soft labels of normalised ``samples`` start from.

        Raises:
            ConfigError: the objective has no teacher.
        """
        raise ConfigError(
            f"{type(self).__name__} has no teacher for soft labels: match trajectories, or take labels='hard'"
        )

    def param_groups(self) -> list[dict[str, Any]]:
        """What the objective learns with the samples, for an optimiser."""
        return []

    def learning_rate(self) -> float | None:
        """The learning rate for training on the set, where the objective learned one."""
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on from the step that was just taken."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027 - most have nothing to restore
        """Go on from :meth:`state`; :meth:`prepare` came before."""


def with_gradient(value: Tensor, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """``value`` as a scalar whose gradient with respect to each tensor is the one paired with it.

    For losses that work out their own gradients, in less memory than a graph would take.
    """
    total = value.detach()
    for tensor, gradient in pairs:
        along = (tensor * gradient.detach()).sum()
        total = total + (along - along.detach())
    return total
