"""Symbols to bits: adaptive models in integer arithmetic, and the range coder behind them."""

from fedbits.coding.grid import (
    CODERS,
    code_grid,
    coding_work,
    least_stream,
    smallest_coder,
    too_large_to_mix,
)
from fedbits.coding.range_coder import Meter, RangeReader, RangeWriter, SymbolCoder

__all__ = [
    "CODERS",
    "Meter",
    "RangeReader",
    "RangeWriter",
    "SymbolCoder",
    "code_grid",
    "coding_work",
    "least_stream",
    "smallest_coder",
    "too_large_to_mix",
]
