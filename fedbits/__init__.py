"""fedbits: distil data into the smallest bitstream that still trains a good model, and exchange it.

What is named here is loaded when it is first used, so that a command's ``--help`` need not wait for torch.
``fedbits.distill`` and ``fedbits.evaluate`` are modules; their main functions bear the same names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedbits.budget import Budget, Ledger
    from fedbits.container import DecodeLimits, decode, encode
    from fedbits.data import DataSet, DataSpec, TensorData
    from fedbits.distilled_set import DistilledSet
    from fedbits.errors import FedbitsError, FormatError

__version__ = "0.1.0.dev0"

__all__ = [
    "Budget",
    "DataSet",
    "DataSpec",
    "DecodeLimits",
    "DistilledSet",
    "FedbitsError",
    "FormatError",
    "Ledger",
    "TensorData",
    "decode",
    "encode",
]

_HOMES = {
    "fedbits.budget": ("Budget", "Ledger"),
    "fedbits.container": ("DecodeLimits", "decode", "encode"),
    "fedbits.data": ("DataSet", "DataSpec", "TensorData"),
    "fedbits.distilled_set": ("DistilledSet",),
    "fedbits.errors": ("FedbitsError", "FormatError"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    if name in ("data", "distill", "evaluate", "recipes"):
        return import_module(f"fedbits.{name}")
    raise AttributeError(f"module 'fedbits' has no attribute {name!r}")
