"""A set on its way into a file: whole or not there, and resumed where an earlier try broke off."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fedbits.errors import ConfigError, FedbitsError
from nodes.exchange.refusals import Reason, RefusedError


class Download:
    """Grows beside ``path`` as ``.NAME.DIGEST.part`` and is renamed once its SHA-256 is right.

    Attributes:
        size: bytes that are there.
    """

    def __init__(self, path: Path, digest: bytes) -> None:
        self.path, self.digest, self.size = path, digest, 0
        self._part = path.with_name(f".{path.name}.{digest.hex()[:16]}.part")
        self._file: int | None = None

    def start(self) -> int:
        """Open the part; bytes that it has already.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            self.size = os.fstat(self._file).st_size
        except OSError as error:
            raise ConfigError(
                f"cannot write {self.path}: {error.strerror}; give a path that can be written"
            ) from error
        return self.size

    def append(self, chunk: bytes, limit: int) -> None:
        """Write the next bytes, of ``limit`` in all; raises :class:`FedbitsError` where that cannot be."""
        assert self._file is not None
        if not chunk or self.size + len(chunk) > limit:
            raise FedbitsError("the exchange sends other bytes than it says")
        try:
            while chunk:
                written = os.write(self._file, chunk)
                self.size += written
                chunk = chunk[written:]
        except OSError as error:
            raise FedbitsError(
                f"cannot write {self.path}: {error.strerror}; what has arrived is kept"
            ) from error

    def pause(self) -> None:
        """Close the part; what has arrived stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Delete the part."""
        self._part.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the part, which is whole now.

        Raises:
            RefusedError: its bytes are wrong (``wrong_digest``); the part is deleted.
        """
        try:
            with self._part.open("rb") as file:
                if hashlib.file_digest(file, "sha256").digest() != self.digest:
                    self.discard()
                    raise RefusedError(Reason.WRONG_DIGEST)
                os.fsync(file.fileno())
            self._part.replace(self.path)
        except OSError as error:
            raise FedbitsError(f"cannot write {self.path}: {error.strerror}") from error
