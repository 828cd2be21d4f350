"""Warnings that nobody who runs fedbits can do anything about."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCES = {"avalanche", "qpsolvers", "torchmetrics"}  # Avalanche, frozen, and what it brings


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings of Avalanche's own code, which turns its own on whatever filters say."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for one in caught:
        if _SOURCES.isdisjoint(Path(one.filename).parts):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
