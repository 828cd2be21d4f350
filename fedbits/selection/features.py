"""What selection compares samples by."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits import networks
from fedbits.acceleration import choose
from fedbits.data.tensors import TensorData
from fedbits.rng import derive_seed

CANDIDATES = 2000  # samples of a class that are looked at
_BATCH = 256


def random_features(data: TensorData, candidates: Tensor, seed: int) -> Tensor:
    """Features ``[n, features]``, of unit length, by a network with random weights."""
    name = networks.default_network(data.spec)
    network = networks.build(name, data.spec, 64, derive_seed(seed, "herding features"))
    with torch.no_grad(), choose("cpu", 0.0).autocast():
        parts = [network.features(data.batch(part).samples.cpu()) for part in candidates.split(_BATCH)]  # type: ignore[operator]
    return torch.nn.functional.normalize(torch.cat(parts).float(), dim=1)
