"""Fixed-point numbers held in float64: what exact syntheses of samples share.

Sums of products of integers stay below 2⁵² in magnitude and so are exact in any order.
"""

from __future__ import annotations

from torch import Tensor

ACTIVATION_BITS = 12  # fractional ones, of features
SAMPLE_BITS = 10  # of samples
LARGEST = 1 << 24  # magnitude of activations, 4,096 in fixed point, and of samples: exact in float32
LARGEST_WEIGHT = 1 << 23  # magnitude of weights, in steps: exact in float32, too
EXACT = 1 << 52  # magnitudes of sums stay below


def rescaled(values: Tensor, bits: int, wanted: int) -> Tensor:
    """Integers in float64, below 2⁵², from ``bits`` fractional bits to ``wanted``: halves go up; clamped."""
    if bits > wanted:
        # No shift is longer than 53 places, which leave nothing of any value.
        down = min(bits - wanted, 53)
        values = ((values + 2.0 ** (down - 1)) * 2.0**-down).floor()
    else:
        values = values * 2.0 ** (wanted - bits)
    return values.clamp(-LARGEST, LARGEST)
