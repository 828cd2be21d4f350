"""Trained networks on disk: one file a network, whole or not there, trusted only if its digest holds."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from pathlib import Path

import numpy as np

from fedbits.errors import FedbitsError
from fedbits.files import write_atomic

_DIGEST = 32  # bytes of SHA-256 before the numbers
_log = logging.getLogger(__name__)


class NetworkStore:
    """The files of one set of networks: SHA-256 of the numbers, then little-endian float32 numbers.

    A network is kept as it was at several moments of its training: a row of ``size`` numbers each.

    Nothing of a file is interpreted: its form follows from what it must hold. Other lengths and digests are
    taken as damage, and the file as missing.
    """

    def __init__(self, folder: Path | None, rows: int, size: int, called: str) -> None:
        """``rows`` of ``size`` numbers a network; no ``folder``, no files. ``called`` is for a warning."""
        self._folder, self._rows, self._size, self._called = folder, rows, size, called

    def load(self, number: int) -> np.ndarray | None:
        """The rows ``[rows, size]`` of network ``number``, mapped from its file; None where there is none."""
        if self._folder is None:
            return None
        numbers = _read(self._network(number))
        if numbers is None or numbers.size != self._rows * self._size:
            return None
        return numbers.reshape(self._rows, self._size)

    def save(self, number: int, rows: np.ndarray) -> np.ndarray:
        """Keep ``rows`` ``[rows, size]`` of network ``number``; what is kept, mapped, or ``rows`` itself."""
        if self._folder is None:
            return rows
        self._write(self._network(number), rows)
        kept = self.load(number)
        return rows if kept is None else kept

    def load_partial(self, block: range) -> np.ndarray | None:
        """What :meth:`save_partial` kept of ``block``, or None."""
        numbers = None if self._folder is None else _read(self._partial(block))
        if numbers is None:
            return None
        rows, rest = divmod(numbers.size, len(block) * self._size)
        usable = not rest and 3 <= rows <= self._rows
        return numbers.reshape(len(block), rows, self._size) if usable else None

    def save_partial(self, block: range, state: np.ndarray) -> None:
        """Keep ``state`` ``[len(block), 3 or more, size]``: rows so far, then one of velocities."""
        if self._folder is not None:
            self._write(self._partial(block), state)

    def forget_partial(self, block: range) -> None:
        """``block`` is whole."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._partial(block).unlink()

    def _network(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{number:04}.f32"

    def _partial(self, block: range) -> Path:
        assert self._folder is not None
        return self._folder / f"{block.start:04}-{block.stop - 1:04}.partial"

    def _write(self, path: Path, numbers: np.ndarray) -> None:
        stored = np.ascontiguousarray(numbers, "<f4").tobytes()
        try:
            write_atomic(path, hashlib.sha256(stored).digest() + stored)
        except FedbitsError as error:
            _log.warning("%s are not kept for the next run: %s", self._called, error)
            self._folder = None


def _read(path: Path) -> np.ndarray | None:
    """The numbers of ``path``, mapped, if they are those that were written."""
    try:
        if path.stat().st_size <= _DIGEST:
            return None
        stored = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError):
        return None
    digest, body = stored[:_DIGEST].tobytes(), stored[_DIGEST:]
    if len(body) % 4 or hashlib.sha256(body.data).digest() != digest:
        return None
    return body.view("<f4")
