"""Torch's default initialisation, drawn from a stream of ours instead of the global generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fedbits.rng import torch_stream

_NORMS = (nn.GroupNorm, nn.BatchNorm2d, nn.LayerNorm)


def initialise(network: nn.Module, seed: int) -> None:
    """Reset every parameter and buffer of ``network`` in place, from ``seed``.

    Each module starts as torch's own constructor would have it, in whatever network it stands (torchvision's
    own starts differ for ResNet and VGG; the distillation literature takes torch's). What a vision
    transformer holds besides modules: class tokens start at zero, position embeddings at N(0, 0.02²).

    Raises:
        TypeError: a module of a kind that has no rule here, and would start from whatever its memory held.
    """
    generator = torch_stream(seed, "initialise")
    zeroed: list[nn.Module] = []  # output projections of attention start without bias
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            _fill(module.weight, nn.init.kaiming_uniform_, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                _fill(module.bias, nn.init.uniform_, a=-bound, b=bound, generator=generator)
        elif isinstance(module, _NORMS):
            _initialise_norm(module)
        elif isinstance(module, nn.MultiheadAttention):
            _initialise_attention(module, generator)
            zeroed.append(module.out_proj)
        else:
            _initialise_own(module, generator)
    for module in zeroed:
        if isinstance(module.bias, nn.Parameter):
            nn.init.zeros_(module.bias)


def _fill(parameter: Tensor, draw: Callable[..., Tensor], **settings: Any) -> None:
    """Draw on the CPU, where our streams are, whatever device ``parameter`` is on: one seed, one start."""
    with torch.no_grad():
        parameter.copy_(draw(torch.empty(parameter.shape, dtype=parameter.dtype), **settings))


def _initialise_norm(module: nn.GroupNorm | nn.BatchNorm2d | nn.LayerNorm) -> None:
    """The identity, of statistics that nothing has been seen of."""
    if module.weight is not None:
        nn.init.ones_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.BatchNorm2d):
        module.reset_running_stats()


def _initialise_attention(module: nn.MultiheadAttention, generator: torch.Generator) -> None:
    """Input projections; the output projection is a linear layer of its own."""
    for name, parameter in module.named_parameters(recurse=False):
        if name.endswith("weight"):
            _fill(parameter, nn.init.xavier_uniform_, generator=generator)
        elif name == "in_proj_bias":
            nn.init.zeros_(parameter)
        else:
            _fill(parameter, nn.init.xavier_normal_, generator=generator)


def _initialise_own(module: nn.Module, generator: torch.Generator) -> None:
    """What a module holds besides other modules."""
    for name, parameter in module.named_parameters(recurse=False):
        if name == "class_token":
            nn.init.zeros_(parameter)
        elif name == "pos_embedding":
            _fill(parameter, nn.init.normal_, std=0.02, generator=generator)
        else:
            raise TypeError(f"no rule for the start of parameter {name!r} of {type(module).__name__}")
    for name, _ in module.named_buffers(recurse=False):
        raise TypeError(f"no rule for the start of buffer {name!r} of {type(module).__name__}")
