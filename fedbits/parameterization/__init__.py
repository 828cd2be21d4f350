"""What is stored of a synthetic set, and how samples come out of it."""

from fedbits.parameterization.base import Parameterization
from fedbits.parameterization.pixel import PixelParameterization

__all__ = ["Parameterization", "PixelParameterization"]
