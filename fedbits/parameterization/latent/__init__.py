"""RUO: samples as latents on grids of several scales, made by a small network, coded under another one."""

from fedbits.parameterization.latent.config import LatentConfig
from fedbits.parameterization.latent.stored import LatentParameterization
from fedbits.parameterization.latent.stream import DecodingCost, checked

__all__ = ["DecodingCost", "LatentConfig", "LatentParameterization", "checked"]
