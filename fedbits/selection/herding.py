"""Herding (Welling, ICML 2009)."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits.data.tensors import TensorData
from fedbits.selection.features import CANDIDATES, random_features


def herd(data: TensorData, candidates: Tensor, count: int, seed: int) -> Tensor:
    """Greedy choice whose running mean feature stays nearest to the mean of all."""
    candidates = candidates[:CANDIDATES]
    features = random_features(data, candidates, seed).double()
    return candidates[follow_mean(features @ features.T, min(count, len(candidates)))]


def follow_mean(products: Tensor, count: int) -> Tensor:
    """The order of ``count`` of n samples by the inner ``products`` ``[n, n]`` of their features.

    Choice k minimises ``‖t + f − k m‖²`` over the free samples f, t the sum of those before it and m the mean
    of all: ``2 f·t − 2 k f·m + f·f`` and what does not depend on f. f·t grows by one row of products a step.
    """
    with_mean, squares = products.mean(1), products.diagonal()
    with_taken = torch.zeros_like(with_mean)
    taken = torch.zeros(len(products), dtype=torch.bool)
    order = []
    for number in range(1, count + 1):
        distance = 2 * (with_taken - number * with_mean) + squares
        best = int(distance.masked_fill(taken, torch.inf).argmin())
        order.append(best)
        taken[best] = True
        with_taken = with_taken + products[best]
    return torch.tensor(order, dtype=torch.long)
