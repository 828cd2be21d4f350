"""What is stored of a synthetic set, and how samples come out of it."""

from fedbits.parameterization.base import Parameterization
from fedbits.parameterization.epitome import EpitomeConfig, EpitomeParameterization
from fedbits.parameterization.floats import FloatParameterization
from fedbits.parameterization.pixel import PixelConfig, PixelParameterization

__all__ = [
    "EpitomeConfig",
    "EpitomeParameterization",
    "FloatParameterization",
    "Parameterization",
    "PixelConfig",
    "PixelParameterization",
]
