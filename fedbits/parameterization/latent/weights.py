"""Weights of both networks: rounded to power-of-two steps in training, and how the steps are chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbits.coding.own import FRACTIONS
from fedbits.coding.weights import fraction_bits_for, laplace_bits, quantise, scales
from fedbits.parameterization.fixed_point import LARGEST_WEIGHT

_LARGEST_ENTROPY = (1 << 15) - 1, (1 << 31) - 1  # of weights and biases, in their finest steps


def rounded(tensor: Tensor, bits: int) -> Tensor:
    """``tensor`` to multiples of ``2**-bits``, straight-through."""
    with torch.no_grad():
        steps = (tensor * 2.0**bits).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
        found = steps * 2.0**-bits
    return found + (tensor - tensor.detach()) if torch.is_grad_enabled() else found


def rounded_entropy(tensor: Tensor, place: int, bits: int) -> Tensor:
    """As :func:`rounded`, within the range of an entropy network; ``place`` of the tensor in it."""
    largest = (_LARGEST_ENTROPY[place % 2] >> (FRACTIONS[place % 2] - bits)) * 2.0**-bits
    limited = tensor.clamp(-largest, largest)
    return rounded(limited, bits)


def start_fractions(tensors: Sequence[Tensor], precision: float, most: Sequence[int]) -> list[int]:
    """Fractional bits with which each tensor has about ``precision``; at least as fine as its companions.

    A bias (or anything that is zero as yet) is as precise as a number of about 1.
    """
    found = []
    for tensor, limit in zip(tensors, most, strict=True):
        if not bool(tensor.isfinite().all()):
            found.append(0)  # which is refused when it is sent
            continue
        values = (
            tensor.detach().cpu() if tensor.ndim > 1 else torch.cat([tensor.detach().cpu(), torch.ones(1)])
        )
        size = float(values.square().mean().sqrt())
        bits = fraction_bits_for(values.numpy(), precision) if size > 0 else math.ceil(-math.log2(precision))
        found.append(min(max(bits, 0), limit))
    return found


def searched(
    tensors: Sequence[Tensor],
    fractions: Sequence[int],
    together: Sequence[Sequence[int]],
    cost: Callable[[Sequence[int]], float],
    price: float,
    least: int,
) -> list[int]:
    """Coarser steps as long as ``cost`` of all plus ``price`` × bits falls (Eqs. 8–10).

    Tensor by tensor, but for those at places that are ``together``.
    """
    found, now = list(fractions), cost(fractions)
    for places in together:
        values = [tensors[place].detach().cpu().numpy() for place in places]
        bits = sum(_about(one, found[place]) for one, place in zip(values, places, strict=True))
        while min(found[place] for place in places) > least:
            trial = [bits - (place in places) for place, bits in enumerate(found)]
            fewer = sum(_about(one, trial[place]) for one, place in zip(values, places, strict=True))
            then = cost(trial)
            if then + price * fewer >= now + price * bits:
                break
            found, now, bits = trial, then, fewer
    return found


def _about(values: NDArray[np.float32], fraction_bits: int) -> float:
    """Bits of a tensor under the best Laplace distribution: its coding takes a hundred times as long."""
    return float(laplace_bits(quantise(values, fraction_bits).values, scales()).min())
