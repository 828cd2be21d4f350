"""Torch's default initialisation, drawn from a stream of ours instead of the global generator."""

from __future__ import annotations

import math

from torch import nn

from fedbits.rng import torch_stream


def initialise(network: nn.Module, seed: int) -> None:
    """Reset every parameter of ``network`` in place as torch's own constructors would, from ``seed``."""
    generator = torch_stream(seed, "initialise")
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.GroupNorm | nn.BatchNorm2d | nn.LayerNorm):
            if module.weight is not None:
                nn.init.ones_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
