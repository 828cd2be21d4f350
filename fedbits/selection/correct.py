"""Samples that a briefly trained network classifies correctly first, as DATM (ICLR 2024) starts from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fedbits.data.tensors import TensorData
from fedbits.evaluate import Protocol, build_network, train
from fedbits.rng import derive_seed
from fedbits.selection.features import CANDIDATES

# Enough for about 80 % on Fashion-MNIST; what such a network gets right is what is easy to learn.
_TRAINING = Protocol("selection", width=32, steps=150, batch=128, learning_rate=0.02, augmented=False)
_BATCH = 256


def correctly_classified(data: TensorData, seed: int) -> Callable[[Tensor, int], Tensor]:
    """Orders candidates: correctly classified ones, those not looked at, then the others, each as they were.

    One network is trained, for all classes. Of a class with many samples the first
    :data:`fedbits.selection.features.CANDIDATES` are looked at.
    """
    run_seed = derive_seed(seed, "selection network")
    network = build_network(data, _TRAINING, run_seed)
    train(network, data, _TRAINING, seed=run_seed)
    network.eval()

    def order(candidates: Tensor, count: int) -> Tensor:
        looked_at, rest = candidates[:CANDIDATES], candidates[CANDIDATES:]
        correct = []
        with torch.no_grad():
            for part in looked_at.split(_BATCH):
                samples, labels = data.batch(part.to(data.labels.device))
                correct.append(network(samples.cpu()).argmax(1) == labels.cpu())
        right = torch.cat(correct)
        return torch.cat([looked_at[right], rest, looked_at[~right]])[:count]

    return order
