"""A blob that is to be published."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fedbits.errors import ConfigError

_START = 5  # bytes of a blob that say its format


@dataclass(frozen=True)
class Source:
    """A blob to be sent, in memory or in a file that is read as it goes; ``format`` is 0 if it is no blob."""

    content: Path | bytes
    size: int
    sha256: bytes
    format: int

    @classmethod
    def of(cls, content: Path | bytes) -> Source:
        if isinstance(content, bytes):
            return cls(content, len(content), hashlib.sha256(content).digest(), _format(content))
        try:
            with content.open("rb") as file:
                start = file.read(_START)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").digest()
                return cls(content, file.tell(), digest, _format(start))
        except OSError as error:
            raise ConfigError(f"cannot read {content}: {error.strerror}") from error

    def read(self, offset: int, size: int) -> bytes:
        if isinstance(self.content, bytes):
            return self.content[offset : offset + size]
        try:
            with self.content.open("rb") as file:
                file.seek(offset)
                chunk = file.read(size)
        except OSError as error:
            raise ConfigError(f"cannot read {self.content}: {error.strerror}") from error
        if not chunk:
            raise ConfigError(f"{self.content} has become shorter while it was read: publish it again")
        return chunk


def _format(start: bytes) -> int:
    """The version of a blob's format, after its magic bytes: see docs/format.md, section 2."""
    return start[4] if start[:4] == b"FBIT" and len(start) >= _START else 0
