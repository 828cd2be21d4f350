"""What networks learn for each sample: its class, or more."""

from fedbits.labels.codec import CodecConfig, LabelCodec
from fedbits.labels.linear import Principal, RobustPrincipal
from fedbits.labels.simple import Float16, Scalar, Top
from fedbits.labels.soft import SoftLabels
from fedbits.labels.vector import PricedAutoencoder, Vector, VectorAutoencoder
from fedbits.labels.view_labels import ViewLabels
from fedbits.labels.views import MIXES, Views, ViewsConfig

_KINDS = (Float16, Scalar, Top, Principal, RobustPrincipal, Vector, VectorAutoencoder, PricedAutoencoder)
CODECS: dict[str, type[LabelCodec]] = {kind.name: kind for kind in _KINDS}

__all__ = ["CODECS", "MIXES", "CodecConfig", "LabelCodec", "SoftLabels", "ViewLabels", "Views", "ViewsConfig"]
