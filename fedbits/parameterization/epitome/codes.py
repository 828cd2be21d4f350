"""Sparse codes: the largest coefficients of each sample and head, on a uniform grid around zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TAIL = 0.002  # share of the coefficients that a step leaves out of range
COEFFICIENT_BITS = range(-16, 48)  # fractional ones, of steps


def largest_symbol(bits: int) -> int:
    """Coefficients are at most so many steps in magnitude."""
    return (1 << (bits - 1)) - 1


def zero_symbol(bits: int) -> int:
    """The symbol of a coefficient that is zero; it is in the middle of the 2^bits that exist."""
    return 1 << (bits - 1)


def top(codes: Tensor, nonzeros: int) -> Tensor:
    """Whether each of ``codes`` ``[n, H, K, J]`` is among the ``nonzeros`` largest of its head (Eq. 6)."""
    flat = codes.detach().abs().flatten(2)
    if nonzeros >= flat.shape[2]:
        return torch.ones_like(codes, dtype=torch.bool)
    places = flat.topk(nonzeros, dim=2, sorted=False).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(2, places, True).view_as(codes)


def step_bits(codes: Tensor, bits: int) -> tuple[int, ...]:
    """Fractional bits of each head's step: the smallest power of two whose grid covers all but a tail.

    ``codes`` ``[n, H, K, J]``: those that are zero have no say.
    """
    found = []
    for head in codes.detach().transpose(0, 1).flatten(1).abs():
        sizes = head[head > 0]
        reach = float(sizes.quantile(1 - _TAIL)) if 0 < len(sizes) <= 1 << 24 else float(head.max())
        fits = math.floor(math.log2((largest_symbol(bits) + 0.5) / reach)) if reach > 0 else 0
        found.append(min(max(fits, COEFFICIENT_BITS[0]), COEFFICIENT_BITS[-1]))
    return tuple(found)


def scales(steps: tuple[int, ...], like: Tensor) -> Tensor:
    """Steps as a tensor that multiplies codes ``[n, H, K, J]`` of ``like``'s type."""
    return torch.tensor([2.0**-bits for bits in steps], dtype=like.dtype, device=like.device)[:, None, None]


def positions(codes: Tensor, steps: tuple[int, ...], bits: int) -> Tensor:
    """``codes`` in steps, within the grid; rounded, they are integers."""
    reach = largest_symbol(bits)
    return (codes / scales(steps, codes)).clamp(-reach, reach)
