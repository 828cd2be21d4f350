"""Differentiable quantisers: values to levels with a surrogate gradient, and to symbols without one."""

from __future__ import annotations

from torch import Tensor

from fedbits.quantization.apot import ApotQuantizer
from fedbits.quantization.base import (
    QUANTIZERS,
    FixedQuantizer,
    Moment,
    Quantizer,
    QuantizerConfig,
    round_straight_through,
)
from fedbits.quantization.ddq import DdqQuantizer
from fedbits.quantization.fsq import FsqQuantizer
from fedbits.quantization.grid import Grid
from fedbits.quantization.post import PostTrainingQuantizer
from fedbits.quantization.uniform import UniformQuantizer
from fedbits.quantization.warm_up import WarmedUpQuantizer

__all__ = [
    "QUANTIZERS",
    "ApotQuantizer",
    "DdqQuantizer",
    "FixedQuantizer",
    "FsqQuantizer",
    "Grid",
    "Moment",
    "PostTrainingQuantizer",
    "Quantizer",
    "QuantizerConfig",
    "UniformQuantizer",
    "WarmedUpQuantizer",
    "build",
    "round_straight_through",
]

QUANTIZERS |= {
    "uniform": UniformQuantizer.covering,
    "fsq": FsqQuantizer.covering,
    "ddq": DdqQuantizer.covering,
    "apot": ApotQuantizer,
    "post": PostTrainingQuantizer,
}
_WITHOUT_WARM_UP = ("fsq", "post")  # values are companded from the start, or never quantised in training


def build(config: QuantizerConfig, bits: int, samples: Tensor) -> Quantizer:
    """The quantiser that ``config`` describes, at ``bits`` 1–8."""
    if not config.warmup or config.name in _WITHOUT_WARM_UP:
        return QUANTIZERS[config.name](bits, samples, config)

    def fitted(values: Tensor) -> Quantizer:
        return QUANTIZERS[config.name](bits, values, config)

    return WarmedUpQuantizer(config.warmup, fitted, samples)
