"""What networks learn for each sample: its class, or more."""

from fedbits.labels.codec import CodecConfig, LabelCodec
from fedbits.labels.codecs import CODECS
from fedbits.labels.network.ensemble import RULES, Ensemble, Rule, pooled
from fedbits.labels.network.labeller import NetworkLabels
from fedbits.labels.soft import SoftLabels
from fedbits.labels.view_labels import ViewLabels
from fedbits.labels.views import MIXES, Views, ViewsConfig

__all__ = [
    "CODECS",
    "MIXES",
    "RULES",
    "CodecConfig",
    "Ensemble",
    "LabelCodec",
    "NetworkLabels",
    "Rule",
    "SoftLabels",
    "ViewLabels",
    "Views",
    "ViewsConfig",
    "pooled",
]
