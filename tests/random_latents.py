"""Latents and networks whose every number is random, to test the wire format: nothing is fitted."""

from __future__ import annotations

import math
from typing import Any

import torch
from storing import first_samples

from fedbits.data import TensorData
from fedbits.distilled_set import DistilledSet
from fedbits.parameterization import LatentConfig, LatentParameterization


def in_random_latents(
    data: TensorData, per_class: int = 2, seed: int = 0, size: float = 2.0, **settings: Any
) -> DistilledSet:
    """As many samples as the first of each class; latents are of about ``size``."""
    counts, config = first_samples(data, per_class)[1], LatentConfig(**settings)
    form, draws = config.form(data.spec), torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    latents = size * torch.randn((sum(counts), form.latents), generator=draws)

    def tensors(shapes: list[tuple[int, ...]]) -> list[torch.Tensor]:
        drawn = [torch.randn(shape, generator=draws) for shape in shapes * form.groups]
        return [one / math.sqrt(math.prod(one.shape[1:])) for one in drawn]

    networks = tensors(form.synthesis_shapes), tensors(form.entropy_shapes)
    stored = LatentParameterization(data.spec, config, latents, labels, *networks)
    return DistilledSet(data.spec, stored, counts, "random")
