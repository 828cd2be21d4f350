"""Which real samples a synthetic set starts from, in the order in which they are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from fedbits.data.tensors import TensorData
from fedbits.errors import ConfigError, unknown
from fedbits.rng import torch_stream
from fedbits.selection.clusters import cluster
from fedbits.selection.correct import correctly_classified
from fedbits.selection.graphcut import graph_cut
from fedbits.selection.herding import herd

__all__ = ["SELECTIONS", "Order", "Selection", "select"]

Selection = Literal["random", "herding", "kmeans", "graphcut", "correct"]

# Puts ``count`` of the candidates (shuffled indices of one class) in its order, the best first.
Order = Callable[[Tensor, int], Tensor]


def _classwise(method: Callable[[TensorData, Tensor, int, int], Tensor]) -> Callable[..., Order]:
    """A method ``(data, candidates, count, seed)`` that needs nothing but the class it looks at."""
    return lambda data, seed: lambda candidates, count: method(data, candidates, count, seed)


# By the name that recipes give them: each is given the data and a seed once, then one class after the other.
SELECTIONS: dict[str, Callable[[TensorData, int], Order]] = {
    "random": lambda data, seed: lambda candidates, count: candidates[:count],
    "herding": _classwise(herd),
    "kmeans": _classwise(cluster),
    "graphcut": graph_cut,
    "correct": correctly_classified,
}


def select(data: TensorData, method: Selection, per_class: int, seed: int) -> list[Tensor]:
    """For each class, the indices of up to ``per_class`` of its samples, best first, without replacement.

    All but ``random`` judge up to :data:`fedbits.selection.features.CANDIDATES` samples of a class; herding
    returns only those, the others append the rest.

    Raises:
        ConfigError: no such method.
    """
    if method not in SELECTIONS:
        raise ConfigError(unknown("selection", method, SELECTIONS))
    if not len(data):
        return data.class_indices()
    order = SELECTIONS[method](data, seed)
    chosen = []
    for label, index in enumerate(data.class_indices()):
        shuffled = index[torch.randperm(len(index), generator=torch_stream(seed, "select", label))]
        chosen.append(order(shuffled, per_class) if len(index) else shuffled)
    return chosen
