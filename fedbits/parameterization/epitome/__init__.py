"""SPEED: samples as sparse codes over epitomic tokens, made by a feature-recurrent network (FReeNet)."""

from fedbits.parameterization.epitome.config import EpitomeConfig
from fedbits.parameterization.epitome.stored import EpitomeParameterization
from fedbits.parameterization.epitome.stream import DecodingCost, checked, shares

__all__ = ["DecodingCost", "EpitomeConfig", "EpitomeParameterization", "checked", "shares"]
