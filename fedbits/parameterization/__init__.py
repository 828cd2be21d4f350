"""What is stored of a synthetic set, and how samples come out of it."""

from fedbits.parameterization.base import Parameterization, StorageConfig
from fedbits.parameterization.epitome import EpitomeConfig, EpitomeParameterization
from fedbits.parameterization.floats import FloatParameterization
from fedbits.parameterization.latent import LatentConfig, LatentParameterization
from fedbits.parameterization.none import NoSamples
from fedbits.parameterization.pixel import PixelConfig, PixelParameterization

__all__ = [
    "EpitomeConfig",
    "EpitomeParameterization",
    "FloatParameterization",
    "LatentConfig",
    "LatentParameterization",
    "NoSamples",
    "Parameterization",
    "PixelConfig",
    "PixelParameterization",
    "StorageConfig",
]
