"""Which real samples a synthetic set starts from, in the order in which they are taken."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits import networks
from fedbits.data.tensors import TensorData
from fedbits.recipes import Selection
from fedbits.rng import derive_seed, torch_stream

_HERDING_CANDIDATES = 2000  # samples per class that herding looks at


def select(data: TensorData, method: Selection, per_class: int, seed: int) -> list[Tensor]:
    """For each class, the indices of up to ``per_class`` of its samples, best first, without replacement."""
    chosen = []
    for label, index in enumerate(data.class_indices()):
        order = torch.randperm(len(index), generator=torch_stream(seed, "select", label))
        shuffled = index[order]
        if method == "herding" and len(index):
            shuffled = _herd(data, shuffled[:_HERDING_CANDIDATES], per_class, seed)
        chosen.append(shuffled[:per_class])
    return chosen


def _herd(data: TensorData, candidates: Tensor, count: int, seed: int) -> Tensor:
    """Greedy choice whose running mean feature stays nearest to the mean of all (Welling, ICML 2009)."""
    network = networks.build(
        networks.default_network(data.spec), data.spec, 64, derive_seed(seed, "herding features")
    )
    with torch.no_grad():
        parts = [network.features(data.batch(part).samples.cpu()) for part in candidates.split(256)]  # type: ignore[operator]
    features = torch.nn.functional.normalize(torch.cat(parts), dim=1)
    mean, total = features.mean(0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool)
    taken: list[int] = []
    for number in range(1, min(count, len(features)) + 1):
        distance = ((total + features) / number - mean).square().sum(1)
        best = int(distance.masked_fill(~free, torch.inf).argmin())
        taken.append(best)
        free[best] = False
        total = total + features[best]
    return candidates[torch.tensor(taken)]
