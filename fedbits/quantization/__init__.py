"""Differentiable quantisers: values to grid values with a surrogate gradient, and to symbols without one."""

from fedbits.quantization.base import Quantizer, round_straight_through
from fedbits.quantization.uniform import UniformQuantizer

__all__ = ["Quantizer", "UniformQuantizer", "round_straight_through"]
