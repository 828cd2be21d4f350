"""Beam management: which of 64 beams is best, told from measurements of half of them (QuADD, Appendix E).

Channels are 3GPP's (TR 38.901) by sionna-no-rt, which is imported only when measurements are made.
"""

from fedbits.data.beams.load import SAMPLES, Selection, assembled, load_beams, measured
from fedbits.data.beams.measurements import Measurements
from fedbits.data.beams.site import SITES, Hotspot, Site

__all__ = [
    "SAMPLES",
    "SITES",
    "Hotspot",
    "Measurements",
    "Selection",
    "Site",
    "assembled",
    "load_beams",
    "measured",
]
