"""Stratified hold-out: for tuning, and for testing where a data set comes without a test part."""

from __future__ import annotations

import torch
from torch import Tensor

from fedbits.data.tensors import TensorData
from fedbits.errors import ConfigError
from fedbits.rng import torch_stream

TEST_FRACTION = 0.2  # of a data set that comes without a test part
TEST_SEED = 0  # fixed: everyone must test on the same samples, whatever the run's seed


def split(data: TensorData, fraction: float, seed: int) -> tuple[TensorData, TensorData]:
    """``data`` without a stratified ``fraction`` of it, and that fraction.

    The share is rounded in each class; every class of two or more samples keeps at least one in each part,
    a class of one sample stays in the first. Both parts keep the order of ``data``.

    Raises:
        ConfigError: ``fraction`` is not between 0 and 1.
    """
    rest, held = split_indices(data.labels, fraction, seed)
    return data.subset(rest), data.subset(held)


def split_indices(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Ascending positions in ``labels`` ``[n]`` of what stays and of what is held out, as :func:`split`."""
    if not 0 < fraction < 1:
        raise ConfigError(f"a hold-out of {fraction} leaves a part empty: give a fraction between 0 and 1")
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = torch.nonzero(labels.cpu() == label).flatten()
        if len(members) < 2:
            continue
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        order = torch.randperm(len(members), generator=torch_stream(seed, "holdout", label))
        held[members[order[:count]]] = True
    held = held.to(labels.device)
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
