"""What arrives at a node, round after round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fedbits.data import TensorData
from fedbits.errors import ConfigError
from fedbits.rng import derive_seed, numpy_stream
from nodes.config import RunConfig


@dataclass(frozen=True)
class NodeStream:
    """A node's share of the data, a few classes at a time.

    All classes of the task are ordered and divided into as many experiences as the run has rounds, as evenly
    as they go; an experience is what the node has of its classes, which may be nothing.

    Attributes:
        data: the node's share.
        experiences: the classes of each, disjoint.
    """

    data: TensorData
    experiences: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, data: TensorData, config: RunConfig, node: int) -> NodeStream:
        """The stream of node ``node``: in its own order of classes, or in that of all.

        Raises:
            ConfigError: there are more rounds than classes.
        """
        return cls(data, experiences(data.spec.classes, config, node))

    def arriving(self, turn: int) -> TensorData:
        """The samples of round ``turn`` (1 ..)."""
        classes = torch.tensor(self.experiences[turn - 1], device=self.data.labels.device)
        return self.data.subset(torch.nonzero(torch.isin(self.data.labels, classes)).flatten())

    @property
    def classes(self) -> int:
        """How many classes the node has samples of."""
        return sum(count > 0 for count in self.data.class_counts())


def experiences(classes: int, config: RunConfig, node: int) -> tuple[tuple[int, ...], ...]:
    """Which of ``classes`` classes arrive at node ``node`` in each round, as far as it has samples of them.

    Raises:
        ConfigError: there are more rounds than classes.
    """
    check_rounds(classes, config.rounds)
    whose: tuple[str | int, ...] = ("all",) if config.class_order == "same" else ("node", node)
    order = numpy_stream(config.seed, "class order", *whose).permutation(classes)
    return tuple(tuple(part.tolist()) for part in np.array_split(order, config.rounds))


def check_rounds(classes: int, rounds: int) -> None:
    """Raise :class:`ConfigError` where an experience would have no class."""
    if rounds > classes:
        raise ConfigError(
            f"{classes} classes make at most {classes} experiences, one a round: {rounds} rounds are too many"
        )


def seed_of(config: RunConfig, node: int, turn: int) -> int:
    """Decides what is random in what a node does in a round."""
    return derive_seed(config.seed, "continual", "node", node, "round", turn)
