"""Blob to :class:`~fedbits.distilled_set.DistilledSet` and back: the only reader and writer of the format.

``envelope`` is the header around the message, ``sections`` what the message says besides its samples,
``limits`` what a receiver accepts, ``writing`` and ``reading`` the two ways, ``facts`` what needs neither.
"""

from __future__ import annotations

from fedbits.container.envelope import MAGIC, VERSION
from fedbits.container.facts import inspect, ledger, task
from fedbits.container.limits import DecodeLimits
from fedbits.container.reading import decode
from fedbits.container.sections import RECIPE_NUMBERS
from fedbits.container.writing import encode, framing

__all__ = [
    "MAGIC",
    "RECIPE_NUMBERS",
    "VERSION",
    "DecodeLimits",
    "decode",
    "encode",
    "framing",
    "inspect",
    "ledger",
    "task",
]
