"""Avalanche's storage policies between two experiences: what they hold, without the stream that it is from.

Avalanche's own checkpoints pickle whole strategies, data sets included, and fail at that.
"""

from __future__ import annotations

from typing import Any

import torch
from avalanche.training.storage_policy import (
    BalancedExemplarsBuffer,
    ExemplarsBuffer,
    ReservoirSamplingBuffer,
)
from torch import Tensor

from fedbits.data import DataSpec, TensorData
from scenarios.buffer import CompressedBuffer
from scenarios.datasets import StoredSamples, as_dataset, as_samples


def save_policy(policy: ExemplarsBuffer, spec: DataSpec) -> dict[str, Any]:
    """Tensors, numbers and containers of them."""
    if isinstance(policy, CompressedBuffer):
        return {"added": policy.added, **policy.memory.state()}
    if isinstance(policy, BalancedExemplarsBuffer):
        return {
            "groups": {int(name): save_policy(group, spec) for name, group in policy.buffer_groups.items()},
            "seen": sorted(getattr(policy, "seen_classes", ())),
            "experiences": getattr(policy, "_num_exps", 0),
        }
    data, logits = as_samples(policy.buffer, spec)
    return {
        "size": policy.max_size,
        "samples": data.samples,
        "labels": data.labels,
        "logits": logits,
        "weights": policy._buffer_weights,
    }


def load_policy(policy: ExemplarsBuffer, spec: DataSpec, state: dict[str, Any]) -> None:
    """Give ``policy``, as it was built, the ``state`` of :func:`save_policy`."""
    if isinstance(policy, CompressedBuffer):
        policy.added = state["added"]
        policy.memory.restore(state)
    elif isinstance(policy, BalancedExemplarsBuffer):
        for name, group in state["groups"].items():
            policy.buffer_groups[name] = ReservoirSamplingBuffer(group["size"])
            load_policy(policy.buffer_groups[name], spec, group)
        if hasattr(policy, "seen_classes"):
            policy.seen_classes = set(state["seen"])
        if hasattr(policy, "_num_exps"):
            policy._num_exps = state["experiences"]
    else:
        samples = StoredSamples(TensorData(spec, state["samples"], state["labels"]))
        logits: Tensor | None = state["logits"]
        policy.buffer = as_dataset(samples, samples.targets, logits)
        policy._buffer_weights = torch.as_tensor(state["weights"])
