"""The orthonormal discrete cosine transform of images, inverted in integers: the same on every machine.

QuADD (Appendix B) and FreD store coefficients rather than pixels. Matrix products of floats depend on the
order of their sums, and so on the library and the processor. Here, what a receiver computes are products of
integers below 2⁵³, held in float64: exact in any order. See docs/format.md, section 7.3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

LARGEST_SIDE = 256
FRACTION_BITS = 12  # of coefficients, and of stored values
_MATRIX_BITS = 16
_LARGEST = 2.0**27  # of coefficients in fixed point


@lru_cache(maxsize=16)
def basis(side: int) -> Tensor:
    """Orthonormal float64 ``[side, side]``: cosines of each frequency (rows) at each place (columns)."""
    frequency, place = torch.arange(side)[:, None], torch.arange(side)[None]
    turns = (2 * place + 1) * frequency % (4 * side)  # whole turns taken out, so that cosines are accurate
    cosines = (turns.double() * (torch.pi / (2 * side))).cos() * (2 / side) ** 0.5
    cosines[0] = (1 / side) ** 0.5
    return cosines


@lru_cache(maxsize=16)
def integers(side: int) -> Tensor:
    """2¹⁶ times :func:`basis`, rounded: float64 that holds integers.

    The magnitudes of a column sum to less than 2²⁰ for sides up to :data:`LARGEST_SIDE`; so with coefficients
    of at most 2²⁷ no sum of the first pass exceeds 2⁴⁷, which it rounds to 2³¹, and none of the second 2⁵¹.
    No entry comes within 10⁻⁵ of a half, so that every cosine function gives the same integers.
    """
    if side > LARGEST_SIDE:
        raise ValueError(f"a side of {side}: sums are exact up to {LARGEST_SIDE}")
    return (basis(side) * 2**_MATRIX_BITS).round()


def forward(samples: Tensor) -> Tensor:
    """Coefficients of ``samples`` ``[..., height, width]``, in their type; rows are vertical frequencies."""
    rows, columns = (basis(side).to(samples) for side in samples.shape[-2:])
    return rows @ (samples @ columns.T)


def inverse(coefficients: Tensor) -> Tensor:
    """Exact float64 multiples of 2⁻¹² from ``coefficients`` ``[..., height, width]`` in float64."""
    rows, columns = (integers(side).to(coefficients.device) for side in coefficients.shape[-2:])
    fixed = coefficients.mul(2.0**FRACTION_BITS).add_(0.5).floor_().clamp_(-_LARGEST, _LARGEST)
    half_way = _rounded(fixed @ columns)
    whole = _rounded(half_way.transpose(-1, -2) @ rows)
    return whole.transpose(-1, -2).div_(2.0**FRACTION_BITS)


def _rounded(sums: Tensor) -> Tensor:
    return sums.add_(2.0 ** (_MATRIX_BITS - 1)).div_(2.0**_MATRIX_BITS).floor_()


def seen(coefficients: Tensor, exact: Tensor) -> Tensor:
    """Float32 samples as a receiver has them of ``exact`` float64 coefficients.

    The gradient with respect to ``coefficients``, what training has in their place, is that of the
    orthonormal inverse transform: the transform of the samples' gradient.
    """
    samples: Tensor = _Seen.apply(coefficients, exact)
    return samples


class _Seen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, exact: Tensor) -> Tensor:
        return inverse(exact).float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return forward(gradients[0]), None


def transform_work(samples: int, shape: tuple[int, int, int]) -> int:
    """What inverting takes of stored ``shape``, in units of some 100 ns; part of the wire format."""
    channels, height, width = shape
    return samples * channels * height * width * (1 + (height + width) // 64)
