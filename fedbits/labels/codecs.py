"""The codecs of labels, by name."""

from __future__ import annotations

from fedbits.errors import ConfigError, unknown
from fedbits.labels.codec import LabelCodec
from fedbits.labels.linear import Principal, RobustPrincipal
from fedbits.labels.simple import Float16, Scalar, Top
from fedbits.labels.vector import PricedAutoencoder, Vector, VectorAutoencoder

_KINDS = (Float16, Scalar, Top, Principal, RobustPrincipal, Vector, VectorAutoencoder, PricedAutoencoder)
CODECS: dict[str, type[LabelCodec]] = {kind.name: kind for kind in _KINDS}


def codec_named(name: str) -> type[LabelCodec]:
    """Raise :class:`ConfigError` where there is none."""
    if name not in CODECS:
        raise ConfigError(unknown("codec of labels", name, CODECS))
    return CODECS[name]
